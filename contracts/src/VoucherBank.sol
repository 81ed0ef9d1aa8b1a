// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Curve} from "./Curve.sol";
import {EntryPause} from "./EntryPause.sol";

/// One deposit, many payees: cumulative EIP-712 vouchers, one lane per (payer, payee, lane). The newest voucher of a lane
/// counts; settling it pays the difference to what the lane was paid before, so a voucher is worth its money once.
///
/// A deposit is soft cover (first come, first served; a bounce is visible); `reserve` turns part of it into hard cover for one
/// lane until a date. Leaving takes `exitDelay`, so that payees can bring what they hold. The settlement token must move
/// exactly the amounts it is asked to.
contract VoucherBank is EIP712, EntryPause {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// One slot, `free` in the low bits: `settle` relies on the order.
    struct Account {
        uint96 free;
        uint96 exiting;
        uint64 exitAt;
    }

    /// One slot, `paid` in the low bits, then `reserved`: `settle` relies on the order.
    struct Lane {
        uint96 paid;
        uint96 reserved;
        uint64 reservedUntil;
    }

    /// A hot key that may sign the payer's vouchers: `spent` of `cap`. A cap of 2^96-1 is none and costs no write.
    struct Delegate {
        uint64 until;
        uint96 cap;
        uint96 spent;
    }

    struct Item {
        address payer;
        uint64 lane;
        uint96 cumulative;
        bytes32 r;
        bytes32 vs; // EIP-2098
    }

    bytes32 public constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address payer,address payee,uint64 lane,uint96 cumulative)");
    /// What a contract wallet may use to check a signature; a payee chooses whose vouchers he brings.
    uint256 private constant ERC1271_GAS = 100_000;
    uint256 private constant UNLIMITED = type(uint256).max;
    uint256 private constant MAX = 0xffffffffffffffffffffffff; // 96 bits
    uint256 public constant MAX_RESERVE = 365 days;

    IERC20 public immutable token;
    uint64 public immutable exitDelay; // seconds

    mapping(address payer => Account) public accounts;
    mapping(address payer => mapping(address payee => mapping(uint64 lane => Lane))) public lanes;
    mapping(address payer => mapping(address signer => Delegate)) public delegates;

    event Deposited(address indexed payer, uint256 amount);
    event Reserved(address indexed payer, address indexed payee, uint64 lane, uint96 amount, uint64 until);
    event Settled(address indexed payer, address indexed payee, uint64 lane, uint96 amount, uint96 cumulative);
    event SettledInto(address indexed payee, uint256 amount);
    event Bounced(address indexed payer, address indexed payee, uint64 lane, uint96 missing);
    event ExitStarted(address indexed payer, uint96 amount, uint64 readyAt);
    event Exited(address indexed payer, uint256 amount);
    event DelegateSet(address indexed payer, address indexed signer, uint64 until, uint96 cap);

    error ExitNotReady();
    error NotEnough();
    error StillReserved();
    error TooLong();
    error CapLowered();
    error NotPayee();

    constructor(IERC20 token_, uint64 exitDelay_, address guardian_) EIP712("VoucherBank", "1") EntryPause(guardian_) {
        token = token_;
        exitDelay = exitDelay_;
    }

    // ------------------------------------------------------------------------------------------------------ funding

    function deposit(address payer, uint96 amount) public whenEntryOpen {
        accounts[payer].free += amount;
        emit Deposited(payer, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    // slither-disable-next-line reentrancy-benign,reentrancy-events
    function depositWithPermit(address payer, uint96 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        // A permit that somebody else already brought is as good: the allowance decides.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        deposit(payer, amount);
    }

    /// Hard cover for one lane. Raising `until` extends what is reserved already.
    function reserve(address payee, uint64 lane, uint96 amount, uint64 until) external {
        if (until > block.timestamp + MAX_RESERVE) revert TooLong();
        Account storage a = accounts[msg.sender];
        if (a.free < amount) revert NotEnough();
        a.free -= amount;
        Lane storage l = lanes[msg.sender][payee][lane];
        l.reserved += amount;
        if (until > l.reservedUntil) l.reservedUntil = until;
        emit Reserved(msg.sender, payee, lane, l.reserved, l.reservedUntil);
    }

    function release(address payee, uint64 lane) external {
        Lane storage l = lanes[msg.sender][payee][lane];
        if (block.timestamp < l.reservedUntil) revert StillReserved();
        accounts[msg.sender].free += l.reserved;
        l.reserved = 0;
        emit Reserved(msg.sender, payee, lane, 0, l.reservedUntil);
    }

    // ------------------------------------------------------------------------------------------------------ hot keys

    /// Let `signer` sign vouchers for me until a time and up to a cap. Shortening takes effect after `exitDelay` and a live cap
    /// cannot be lowered: revoking must not void vouchers in flight. Once expired, a delegate may be set anew.
    function setDelegate(address signer, uint64 until, uint96 cap) external {
        Delegate storage d = delegates[msg.sender][signer];
        uint64 current = d.until;
        if (current > block.timestamp) {
            if (cap < d.cap) revert CapLowered();
            uint64 earliest = uint64(block.timestamp) + exitDelay;
            if (until < current && until < earliest) until = current < earliest ? current : earliest;
        } else {
            d.spent = 0;
        }
        d.until = until;
        d.cap = cap;
        emit DelegateSet(msg.sender, signer, until, cap);
    }

    // ------------------------------------------------------------------------------------------------------ exit

    function startExit(uint96 amount) external {
        Account storage a = accounts[msg.sender];
        a.exiting = amount;
        a.exitAt = uint64(block.timestamp) + exitDelay;
        emit ExitStarted(msg.sender, amount, a.exitAt);
    }

    /// Pays what was announced, or what is left of it: vouchers that came in the meantime go first.
    function finishExit() external {
        Account memory a = accounts[msg.sender];
        if (a.exiting == 0 || block.timestamp < a.exitAt) revert ExitNotReady();
        uint96 amount = a.exiting < a.free ? a.exiting : a.free;
        accounts[msg.sender] = Account(a.free - amount, 0, 0);
        emit Exited(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ------------------------------------------------------------------------------------------------------ settle

    /// Pays the newest vouchers of many payers to one payee, in tokens or (`intoBank`) to his own account here, to be spent at
    /// once. Anyone may bring the vouchers of a plain account; a contract settles for itself, because it must book what it
    /// gets; only the payee chooses `intoBank`. Stale, forged and uncovered items are skipped.
    function settle(address payee, Item[] calldata items, bool intoBank) external returns (uint256 total) {
        if (msg.sender != payee && (intoBank || payee.code.length != 0)) revert NotPayee();
        bytes32 separator = _domainSeparatorV4();
        for (uint256 i; i < items.length;) {
            Item calldata item;
            assembly {
                item := add(items.offset, mul(i, 0xa0)) // items[i], which checks the bound a second time
            }
            // At most what all accounts hold together: the token's supply.
            unchecked {
                total += _settleOne(separator, payee, item);
                ++i;
            }
        }
        if (total == 0) return 0;
        if (intoBank) {
            accounts[payee].free += total.toUint96();
            emit SettledInto(payee, total);
        } else {
            token.safeTransfer(payee, total);
        }
    }

    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// One slot for the account and one for the lane are read and written whole, as words: the settling of many vouchers is
    /// what this suite does most.
    function _settleOne(bytes32 separator, address payee, Item calldata item) private returns (uint256 amount) {
        address payer = item.payer;
        Lane storage l = lanes[payer][payee][item.lane];
        Account storage a = accounts[payer];
        uint256 lane;
        assembly {
            lane := sload(l.slot)
        }
        uint256 paid = lane & MAX;
        uint256 due = item.cumulative;
        if (due <= paid) return 0;
        unchecked {
            due -= paid;
        }
        (address signer, uint256 allowed) = _authority(_digest(separator, payee, item), payer, item);
        if (allowed == 0) return 0;
        uint256 hard = lane >> 96 & MAX;
        uint256 account;
        assembly {
            account := sload(a.slot)
            amount := add(and(account, MAX), hard)
        }
        if (amount > due) amount = due;
        if (amount > allowed) amount = allowed;
        if (amount < due) emit Bounced(payer, payee, item.lane, uint96(due - amount));
        if (amount == 0) return 0;
        if (allowed != UNLIMITED) delegates[payer][signer].spent += uint96(amount);
        if (hard > amount) hard = amount;
        // None of these can run over its 96 bits: hard <= reserved, amount - hard <= free, paid + amount <= cumulative.
        assembly {
            if sub(amount, hard) { sstore(a.slot, sub(account, sub(amount, hard))) }
            sstore(l.slot, sub(add(lane, amount), shl(96, hard)))
            paid := add(paid, amount)
        }
        emit Settled(payer, payee, item.lane, uint96(amount), uint96(paid));
    }

    /// Who signed, and how much his signature may still spend: nothing, a delegate's rest, or without limit.
    function _authority(bytes32 digest, address payer, Item calldata item)
        private
        view
        returns (address signer, uint256 allowed)
    {
        signer = Curve.signer(digest, item.r, item.vs);
        if (signer == payer && signer != address(0)) return (signer, UNLIMITED);
        if (signer != address(0)) {
            Delegate memory d = delegates[payer][signer];
            if (d.until > block.timestamp) {
                if (d.cap == type(uint96).max) return (signer, UNLIMITED);
                return (signer, d.cap > d.spent ? d.cap - d.spent : 0);
            }
        }
        if (_walletSigned(digest, item)) return (payer, UNLIMITED);
    }

    /// ERC-1271: the payer is a contract that knows this signature as its own. It gets bounded gas, and no more than a word
    /// of its answer is copied.
    function _walletSigned(bytes32 digest, Item calldata item) private view returns (bool) {
        address payer = item.payer;
        if (payer.code.length == 0) return false;
        bytes memory question =
            abi.encodeCall(IERC1271.isValidSignature, (digest, abi.encodePacked(item.r, item.vs)));
        uint256 gasLimit = ERC1271_GAS;
        bytes32 answer;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(gasLimit, payer, add(question, 0x20), mload(question), 0, 0x20)
            ok := and(ok, gt(returndatasize(), 0x1f))
            answer := mload(0)
        }
        return ok && answer == bytes32(IERC1271.isValidSignature.selector);
    }

    function _digest(bytes32 separator, address payee, Item calldata item) private pure returns (bytes32 digest) {
        bytes32 typehash = VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            let m := mload(0x40) // scratch beyond the free pointer, not kept
            mstore(m, typehash)
            mstore(add(m, 0x20), calldataload(item))
            mstore(add(m, 0x40), payee)
            mstore(add(m, 0x60), calldataload(add(item, 0x20)))
            mstore(add(m, 0x80), calldataload(add(item, 0x40)))
            let h := keccak256(m, 0xa0)
            mstore(m, "\x19\x01")
            mstore(add(m, 2), separator)
            mstore(add(m, 34), h)
            digest := keccak256(m, 66)
        }
    }
}
