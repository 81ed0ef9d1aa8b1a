// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {Base} from "../Base.sol";
import {SchwungToken} from "../../src/SchwungToken.sol";
import {VoucherBank} from "../../src/VoucherBank.sol";

/// Three payers, three payees (one of them is a payer too), two lanes, one hot key a payer. Keeps its own sums.
contract BankHandler is Test {
    VoucherBank immutable bank;
    SchwungToken immutable token;
    uint256[3] keys = [uint256(0xA1), 0xB2, 0xC3];
    address[3] public payers; // deriving an address is dear, and every action needs one
    address[3] public hots;
    address[3] public payees;
    mapping(address payer => mapping(address payee => mapping(uint64 lane => uint96))) public signed;
    mapping(bytes32 action => uint256) public done;
    uint256 public deposited;
    uint256 public exited;
    uint256 public settledOut;
    uint256 public hotSpent; // by the capped hot keys, all together
    uint256 public early; // exits before their time: must stay 0

    constructor(VoucherBank bank_, SchwungToken token_) {
        bank = bank_;
        token = token_;
        for (uint256 i; i < 3; ++i) {
            payers[i] = vm.addr(keys[i]);
            hots[i] = vm.addr(hot(i));
        }
        payees = [address(0x1001), address(0x1002), payers[0]];
    }

    function equip() external {
        token.approve(address(bank), type(uint256).max);
    }

    function payer(uint256 i) public view returns (address) {
        return payers[i % 3];
    }

    function hot(uint256 i) public view returns (uint256) {
        return keys[i % 3] + 0x1000;
    }

    function sign(uint256 key, address payer_, address payee, uint64 lane, uint96 cumulative)
        internal
        view
        returns (VoucherBank.Item memory)
    {
        bytes32 h = keccak256(abi.encode(bank.VOUCHER_TYPEHASH(), payer_, payee, lane, cumulative));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked("\x19\x01", bank.domainSeparator(), h)));
        return VoucherBank.Item(payer_, lane, cumulative, r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    // -------------------------------------------------------------------------------------------------- actions

    function deposit(uint256 i, uint96 amount) external {
        amount = uint96(bound(amount, 1, 1e22));
        bank.deposit(payer(i), amount);
        deposited += amount;
        ++done["deposit"];
    }

    function reserve(uint256 i, uint256 j, uint64 lane, uint96 amount) external {
        (uint96 free,,) = bank.accounts(payer(i));
        if (free == 0) return;
        amount = uint96(bound(amount, 1, free));
        vm.prank(payer(i));
        bank.reserve(payees[j % 3], lane % 2, amount, uint64(block.timestamp + 1 days));
        ++done["reserve"];
    }

    function release(uint256 i, uint256 j, uint64 lane, bool wait) external {
        if (wait) vm.warp(block.timestamp + 1 days);
        address who = payer(i);
        (, uint96 reserved, uint64 until) = bank.lanes(who, payees[j % 3], lane % 2);
        vm.prank(who);
        try bank.release(payees[j % 3], lane % 2) {
            assertGe(block.timestamp, until);
            if (reserved != 0) ++done["release"];
        } catch {}
    }

    function setDelegate(uint256 i, uint64 until, uint96 cap) external {
        address who = payer(i);
        address hot_ = hots[i % 3];
        until = uint64(block.timestamp + bound(until, 0, 3 days));
        cap = uint96(bound(cap, 1, 1e22));
        vm.prank(who);
        try bank.setDelegate(hot_, until, cap) {
            ++done["setDelegate"];
        } catch {}
    }

    function settle(uint256 i, uint256 j, uint64 lane, uint96 more, bool byHot, bool into) external {
        address who = payer(i);
        address payee = payees[j % 3];
        lane %= 2;
        (uint96 paid,,) = bank.lanes(who, payee, lane);
        uint96 cumulative = paid + uint96(bound(more, 1, 2e21));
        if (cumulative > signed[who][payee][lane]) signed[who][payee][lane] = cumulative;
        VoucherBank.Item[] memory items = new VoucherBank.Item[](3);
        items[0] = sign(byHot ? hot(i) : keys[i % 3], who, payee, lane, cumulative);
        items[1] = items[0]; // twice in one batch
        items[2] = sign(keys[(i + 1) % 3], who, payee, lane, cumulative + 1e21); // another payer's key
        if (into) vm.prank(payee);
        uint256 got = bank.settle(payee, items, into);
        if (!into) settledOut += got;
        if (byHot) hotSpent += got;
        if (got != 0) ++done[byHot ? bytes32("settle by delegate") : into ? bytes32("settle into bank") : bytes32("settle")];
    }

    function startExit(uint256 i, uint96 amount) external {
        vm.prank(payer(i));
        bank.startExit(uint96(bound(amount, 1, 1e22)));
        ++done["startExit"];
    }

    function finishExit(uint256 i, bool wait) external {
        if (wait) vm.warp(block.timestamp + bank.exitDelay());
        address who = payer(i);
        (,, uint64 at) = bank.accounts(who);
        uint256 before = token.balanceOf(who);
        vm.prank(who);
        try bank.finishExit() {
            if (block.timestamp < at) ++early;
            ++done["finishExit"];
        } catch {}
        exited += token.balanceOf(who) - before;
    }
}

contract VoucherBankInvariant is Base {
    BankHandler handler;
    string[9] names = [
        "deposit", "reserve", "release", "setDelegate", "settle", "settle into bank", "settle by delegate", "startExit", "finishExit"
    ];

    function setUp() public override {
        super.setUp();
        handler = new BankHandler(bank, token);
        vm.prank(admin);
        token.transfer(address(handler), 5e26);
        handler.equip();
        targetContract(address(handler));
        bytes4[] memory s = new bytes4[](8);
        s[0] = BankHandler.deposit.selector;
        s[1] = BankHandler.reserve.selector;
        s[2] = BankHandler.release.selector;
        s[3] = BankHandler.setDelegate.selector;
        s[4] = BankHandler.settle.selector;
        s[5] = BankHandler.startExit.selector;
        s[6] = BankHandler.finishExit.selector;
        s[7] = BankHandler.settle.selector;
        targetSelector(FuzzSelector(address(handler), s));
    }

    /// One campaign for all of them: each invariant function would run its own.
    function invariant_bank() public view {
        the_bank_holds_what_it_owes();
        what_came_in_went_out_or_is_here();
        nobody_is_paid_more_than_was_signed();
        hot_keys_stay_within_their_caps();
        nobody_leaves_early();
    }

    /// No action is vacuous: each can succeed.
    function test_every_action_of_the_handler_succeeds() public {
        handler.deposit(0, 1e22);
        handler.reserve(0, 0, 0, 1e20);
        handler.settle(0, 0, 0, 1e18, false, false);
        handler.settle(0, 1, 0, 1e18, false, true);
        handler.setDelegate(0, uint64(2 days), 1e22);
        handler.settle(0, 1, 1, 1e18, true, false);
        handler.release(0, 0, 0, true);
        handler.startExit(0, 1e20);
        handler.finishExit(0, true);
        for (uint256 i; i < names.length; ++i) assertGt(handler.done(bytes32(bytes(names[i]))), 0, names[i]);
        invariant_bank();
    }

    function owed() internal view returns (uint256 sum) {
        for (uint256 i; i < 3; ++i) {
            (uint96 f,,) = bank.accounts(handler.payer(i));
            sum += f;
            if (i < 2) {
                (f,,) = bank.accounts(handler.payees(i)); // the third is a payer, counted
                sum += f;
            }
            for (uint256 j; j < 3; ++j) {
                for (uint64 lane; lane < 2; ++lane) {
                    (, uint96 r,) = bank.lanes(handler.payer(i), handler.payees(j), lane);
                    sum += r;
                }
            }
        }
    }

    function the_bank_holds_what_it_owes() internal view {
        assertEq(token.balanceOf(address(bank)), owed());
    }

    function what_came_in_went_out_or_is_here() internal view {
        assertEq(handler.deposited(), owed() + handler.exited() + handler.settledOut());
    }

    function nobody_is_paid_more_than_was_signed() internal view {
        for (uint256 i; i < 3; ++i) {
            for (uint256 j; j < 3; ++j) {
                for (uint64 lane; lane < 2; ++lane) {
                    (address a, address b) = (handler.payer(i), handler.payees(j));
                    (uint96 paid,,) = bank.lanes(a, b, lane);
                    assertLe(paid, handler.signed(a, b, lane));
                }
            }
        }
    }

    function hot_keys_stay_within_their_caps() internal view {
        for (uint256 i; i < 3; ++i) {
            (, uint96 cap, uint96 spent) = bank.delegates(handler.payer(i), handler.hots(i));
            assertLe(spent, cap);
        }
    }

    function nobody_leaves_early() internal view {
        assertEq(handler.early(), 0);
    }

    function afterInvariant() public {
        for (uint256 i; i < names.length; ++i) emit log_named_uint(names[i], handler.done(bytes32(bytes(names[i]))));
        assertGt(handler.done("settle"), 0);
    }
}
