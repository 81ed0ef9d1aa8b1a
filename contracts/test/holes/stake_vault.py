"""Holes in StakeVault."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("StakeVault", "a delay without end", "if (unbondingDelay_ > MAX_DELAY) revert DelayTooLong();"),
    Mutant("StakeVault", "anybody slashes", "if (!isSlasher[msg.sender]) revert NotSlasher();"),
    Mutant("StakeVault", "nobody may slash", "isSlasher[slashers_[i]] = true;", "isSlasher[slashers_[i]] = false;"),
    Mutant(
        "StakeVault", "what is bound stays free", "        a.free -= amount;\n        bound[who]", "        bound[who]"
    ),
    Mutant("StakeVault", "what leaves stays free", "        a.free -= amount;\n        a.leaving", "        a.leaving"),
    Mutant("StakeVault", "no delay", " + unbondingDelay;", ";"),
    Mutant(
        "StakeVault",
        "asking again does not wait anew",
        "a.readyAt = uint64(block.timestamp)",
        "if (a.leaving == amount) a.readyAt = uint64(block.timestamp)",
    ),
    Mutant("StakeVault", "what waits is paid at once", "if (block.timestamp >= a.readyAt) {", "{"),
    Mutant("StakeVault", "what left is paid again", "            a.leaving = 0;\n"),
    Mutant("StakeVault", "credit is paid again", "        credit[msg.sender] = 0;\n"),
    Mutant("StakeVault", "credit is not paid", "amount = credit[msg.sender];", "amount = 0;"),
    Mutant(
        "StakeVault",
        "more is slashed than was bound",
        "if (held < amount) revert NotBound();",
        "if (held < amount) held = amount;",
    ),
    Mutant("StakeVault", "the same is slashed again", "        bound[who][msg.sender] = held - amount;\n"),
    Mutant("StakeVault", "the whole stake is the winner's", "uint256 reward = amount / 2;", "uint256 reward = amount;"),
    Mutant("StakeVault", "the winner gets nothing", "        credit[to] += reward;\n"),
    Mutant("StakeVault", "nothing burns", "        Fees.burn(token, amount - reward);\n"),
    Mutant(
        "StakeVault",
        "what is freed is lost",
        "        accounts[who].free += amount;\n        emit Freed",
        "        emit Freed",
    ),
    Mutant(
        "StakeVault", "staked without paying", "        token.safeTransferFrom(msg.sender, address(this), amount);\n"
    ),
    Mutant(
        "StakeVault",
        "more is bound than there is",
        "if (a.free < amount) revert NotEnough();\n        a.free -= amount;\n        bound",
        "a.free -= a.free < amount ? a.free : amount;\n        bound",
    ),
]
