"""Holes in VoucherBank."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("VoucherBank", "an older voucher is paid again", "if (due <= paid) return 0;", "if (due == 0) return 0;"),
    Mutant(
        "VoucherBank",
        "nonsense signs for address zero",
        "if (signer == payer && signer != address(0))",
        "if (signer == payer)",
    ),
    Mutant("VoucherBank", "a delegate never expires", "if (d.until > block.timestamp) {", "if (d.until != 0) {"),
    Mutant(
        "VoucherBank",
        "a delegate's spending is forgotten",
        "if (allowed != UNLIMITED) delegates[payer][signer].spent += uint96(amount);",
    ),
    Mutant(
        "VoucherBank",
        "each voucher has the whole cap",
        "return (signer, d.cap > d.spent ? d.cap - d.spent : 0);",
        "return (signer, d.cap);",
    ),
    Mutant(
        "VoucherBank", "a reserve is used again and again", "sub(add(lane, amount), shl(96, hard))", "add(lane, amount)"
    ),
    Mutant(
        "VoucherBank",
        "the account is not debited",
        "if sub(amount, hard) { sstore(a.slot, sub(account, sub(amount, hard))) }",
    ),
    Mutant(
        "VoucherBank",
        "the lane forgets what it paid",
        "sub(add(lane, amount), shl(96, hard))",
        "sub(lane, shl(96, hard))",
    ),
    Mutant("VoucherBank", "more is paid than is there", "if (amount > due) amount = due;", "amount = due;"),
    Mutant("VoucherBank", "a payer leaves at once", "a.exiting == 0 || block.timestamp < a.exitAt", "a.exiting == 0"),
    Mutant("VoucherBank", "a payer leaves twice", "Account(a.free - amount, 0, 0)", "Account(a.free, 0, 0)"),
    Mutant(
        "VoucherBank", "a payer leaves with more than he has", "a.exiting < a.free ? a.exiting : a.free", "a.exiting"
    ),
    Mutant(
        "VoucherBank", "a reserve is released early", "if (block.timestamp < l.reservedUntil) revert StillReserved();"
    ),
    Mutant("VoucherBank", "a reserve is released twice", "        l.reserved = 0;\n"),
    Mutant("VoucherBank", "a reserve is still free money", "        a.free -= amount;\n"),
    Mutant(
        "VoucherBank",
        "a contract's money arrives unbooked",
        "if (msg.sender != payee && (intoBank || payee.code.length != 0)) revert NotPayee();",
    ),
    Mutant(
        "VoucherBank",
        "the lane is not signed",
        "mstore(add(m, 0x60), calldataload(add(item, 0x20)))",
        "mstore(add(m, 0x60), 0)",
    ),
    Mutant("VoucherBank", "the payee is not signed", "mstore(add(m, 0x40), payee)", "mstore(add(m, 0x40), 0)"),
    Mutant("VoucherBank", "a cap is lowered under vouchers in flight", "if (cap < d.cap) revert CapLowered();"),
    Mutant(
        "VoucherBank",
        "a delegate is revoked under vouchers in flight",
        "if (until < current && until < earliest) until = current < earliest ? current : earliest;",
    ),
    Mutant(
        "VoucherBank",
        "any answer of a wallet is a yes",
        " && answer == bytes32(IERC1271.isValidSignature.selector)",
    ),
    Mutant("VoucherBank", "a wallet may burn all gas", "staticcall(gasLimit,", "staticcall(gas(),"),
    Mutant(
        "VoucherBank",
        "a pause stops nothing",
        "function deposit(address payer, uint96 amount) public whenEntryOpen",
        "function deposit(address payer, uint96 amount) public",
    ),
]
