"""Holes in RewardPool and its epochs."""

from holes.mutant import Mutant


def pool(hole: str, before: str, after: str = "") -> Mutant:
    return Mutant("RewardPool", hole, before, after)


def epochs(hole: str, before: str, after: str = "") -> Mutant:
    return Mutant("RewardEpochs", hole, before, after, tests="RewardPool")


MUTANTS = [
    pool("the seller rates himself", "if (s.buyer != msg.sender) revert NotBuyer();"),
    pool("an unpaid sale is rewarded", "if (s.state != KeySaleTypes.State.Paid) revert NotPaid();"),
    pool("a sale is rewarded again", "if (rated[saleId]) revert AlreadyRated();"),
    pool("no budget", "if (amount > left) amount = left;"),
    pool("fees that wait are no budget", "if (amount > budget()) _burnWaiting(offerId);"),
    pool("alpha is ignored", "* alphaPpm / PPM;", ";"),
    pool("the whole fee comes back", "sale.feeOf(s.price) * betaPpm / PPM;", "sale.feeOf(s.price);"),
    pool("credit is paid twice", "        credit[msg.sender] = 0;\n"),
    pool("paid rewards stay owed", "        owed -= amount;\n"),
    pool(
        "credits are spent again as budget",
        "token.balanceOf(address(this)) - owed - promised",
        "token.balanceOf(address(this)) - promised",
    ),
    pool(
        "promises are spent again as grant",
        "token.balanceOf(address(this)) - owed - promised",
        "token.balanceOf(address(this)) - owed",
    ),
    pool("promises are no part of alpha", "uint256 given = rewarded + promised;", "uint256 given = rewarded;"),
    pool("a share of one or more", "if (rules.alphaPpm >= PPM || rules.betaPpm >= PPM) revert ShareTooHigh();"),
    pool("an oracle of somebody else", "if (oracle_.reporter() != address(this)) revert NotReporter();"),
    pool("price does not follow feedback", "oracle.report(sale.offers(offerId).dataset, rating, s.price);"),
    epochs("rewards are not counted", "        rewarded += amount;\n"),
    epochs("proposals whenever one likes", "if (block.timestamp < nextProposalAt) revert TooEarly();"),
    epochs("promises without a budget", "if (total > budget()) revert OverBudget();"),
    epochs("fees that wait are no budget of an epoch", "if (total > budget()) _burnWaiting(0);"),
    epochs("promises are not counted", "        promised += total;\n"),
    epochs("a proposal costs nothing", "        stakes.bind(msg.sender, proposerStake);\n"),
    epochs("a payer twice", "if (account.payer <= last) revert NotAscending();"),
    epochs("a line twice", "if (lines[i].modelId <= last) revert NotAscending();"),
    epochs(
        "a sum that the lines do not give",
        "if (account.cumulative != entitlement(_settled(account.lines))) revert WrongCumulative();",
    ),
    epochs(
        "more promised than is due",
        "account.delta == 0 || claimed[last] + account.delta > account.cumulative",
        "account.delta == 0",
    ),
    epochs("any number of lines", "if (lines.length > MAX_LINES) revert TooManyLines();"),
    epochs("beta is ignored for lanes", "settled * laneFeeBps / BPS * betaPpm / PPM", "settled * laneFeeBps / BPS"),
    epochs("an honest proposal is slashed", "if (modelId == 0) revert NoFault();"),
    epochs(
        "refuted with another's account",
        "if (!MerkleProof.verifyCalldata(proof, e.root, leafHash(_leaf(index, account)))) revert BadProof();",
    ),
    epochs("refuted after the window", "if (block.timestamp >= e.readyAt) revert TooLate();"),
    epochs("a refuted proposal pays", "        e.state = State.Void;\n"),
    epochs("a refuted promise stays", "        promised -= e.total;\n"),
    epochs(
        "a lie costs nothing",
        "stakes.slash(proposer, proposerStake, msg.sender);",
        "stakes.free(proposer, proposerStake);",
    ),
    epochs("a void epoch takes the next one's turn", "        nextProposalAt = uint64(block.timestamp);\n"),
    epochs("more than was settled", "lines[i].upTo > paid || "),
    epochs("a twin of a lane's model", " || models.modelOfLane(lane) != modelId"),
    epochs(
        "somebody else's settlements",
        "bank.lanes(payer, address(models), lane)",
        "bank.lanes(msg.sender, address(models), lane)",
    ),
    epochs(
        "claims do not wait", "if (block.timestamp < e.readyAt) revert TooEarly();\n        if (!Merkle", "if (!Merkle"
    ),
    epochs("no proof is needed", "if (!MerkleProof.verifyCalldata(proof, e.root, leafHash(leaf))) revert BadProof();"),
    epochs("an account is claimed again", "if (isClaimed(epoch, leaf.index)) revert AlreadyClaimed();"),
    epochs("old rewards come again", "uint256 before = claimed[leaf.payer];", "uint256 before = 0;"),
    epochs("claims are not remembered", "        claimed[leaf.payer] = before + amount;\n"),
    epochs("more than the delta", "if (amount > leaf.delta) amount = leaf.delta;"),
    epochs("what was promised stays so", "        promised -= leaf.delta;\n"),
    epochs(
        "the stake goes home before the window",
        "if (block.timestamp < e.readyAt) revert TooEarly();\n        e.state",
        "e.state",
    ),
    epochs("the stake goes home twice", "        e.state = State.Finished;\n"),
    epochs(
        "finished epochs pay nothing",
        "e.state != State.Proposed && e.state != State.Finished",
        "e.state != State.Proposed",
    ),
    epochs("a vault of somebody else", "if (!stakes_.isSlasher(address(this))) revert NotSlasher();"),
    epochs("an epoch without end", "rules.epochLength > MAX_WINDOW || "),
    epochs("no epochs", "if (rules.epochLength == 0) revert BadRules();"),
]
