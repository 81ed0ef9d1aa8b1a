// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Vm} from "forge-std/Vm.sol";
import {Base} from "./Base.sol";
import {EntryPause} from "../src/EntryPause.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

/// A contract wallet that accepts what one key signed, in EIP-2098 form.
contract Wallet is IERC1271 {
    address private immutable signer;

    constructor(address signer_) {
        signer = signer_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 vs) = abi.decode(signature, (bytes32, bytes32));
        bytes32 s = vs & bytes32(uint256(type(int256).max));
        bool good = ecrecover(hash, uint8(uint256(vs) >> 255) + 27, r, s) == signer;
        return good ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// A contract wallet that burns all gas it gets.
contract GasEater {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        while (true) {}
        return 0;
    }
}

contract VoucherBankTest is Base {
    uint96 constant DEPOSIT = 100e18;
    address payee = makeAddr("payee");

    function setUp() public override {
        super.setUp();
        vm.prank(bob);
        bank.deposit(bob, DEPOSIT);
    }

    function free(address who) internal view returns (uint96 f) {
        (f,,) = bank.accounts(who);
    }

    function paid(address payer, uint64 lane) internal view returns (uint96 p) {
        (p,,) = bank.lanes(payer, payee, lane);
    }

    function settle(VoucherBank.Item memory item) internal returns (uint256) {
        return bank.settle(payee, one(item), false);
    }

    // ------------------------------------------------------------------------------------------------ funding

    function test_deposit_for_another() public {
        vm.prank(carol);
        bank.deposit(bob, 5e18);
        assertEq(free(bob), DEPOSIT + 5e18);
        assertEq(token.balanceOf(address(bank)), DEPOSIT + 5e18);
    }

    function test_deposit_with_permit_and_with_a_permit_already_used() public {
        (address erin, uint256 key) = makeAddrAndKey("erin");
        vm.prank(admin);
        token.transfer(erin, 10e18);
        bytes32 h = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                erin,
                address(bank),
                6e18,
                0,
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), h)));
        token.permit(erin, address(bank), 6e18, block.timestamp, v, r, s); // somebody was faster
        vm.prank(erin);
        bank.depositWithPermit(erin, 6e18, block.timestamp, v, r, s);
        assertEq(free(erin), 6e18);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientAllowance.selector); // a bad permit gives nothing
        vm.prank(erin);
        bank.depositWithPermit(erin, 1, block.timestamp, v, r, s);
    }

    function test_pause_stops_deposits_and_nothing_else() public {
        vm.expectRevert(EntryPause.NotGuardian.selector);
        bank.setEntryPaused(true);
        vm.prank(guardian);
        bank.setEntryPaused(true);
        vm.startPrank(bob);
        vm.expectRevert(EntryPause.EntryIsPaused.selector);
        bank.deposit(bob, 1);
        vm.expectRevert(EntryPause.EntryIsPaused.selector);
        bank.depositWithPermit(bob, 1, 0, 0, 0, 0);
        bank.reserve(payee, 1, 10e18, uint64(block.timestamp + 1));
        bank.setDelegate(carol, uint64(block.timestamp + 1 days), 1e18);
        bank.startExit(20e18);
        vm.stopPrank();
        assertEq(settle(voucher(bobKey, bob, payee, 1, 15e18)), 15e18);
        vm.warp(block.timestamp + EXIT);
        vm.startPrank(bob);
        bank.finishExit();
        bank.release(payee, 1);
        vm.stopPrank();
        assertEq(free(bob), DEPOSIT - 35e18);
    }

    // ------------------------------------------------------------------------------------------------ settle

    function testFuzz_only_what_is_new_is_paid(uint96 a, uint96 b) public {
        a = uint96(bound(a, 1, DEPOSIT));
        b = uint96(bound(b, 1, DEPOSIT));
        VoucherBank.Item[] memory items = new VoucherBank.Item[](3);
        items[0] = voucher(bobKey, bob, payee, 0, a);
        items[1] = voucher(bobKey, bob, payee, 0, b);
        items[2] = items[0];
        uint96 top = a > b ? a : b;
        assertEq(bank.settle(payee, items, false), top);
        assertEq(token.balanceOf(payee), top);
        assertEq(paid(bob, 0), top);
        assertEq(free(bob), DEPOSIT - top);
        assertEq(bank.settle(payee, items, false), 0);
    }

    function testFuzz_forged_vouchers_pay_nothing_and_leave_no_trace(uint96 cumulative, bytes32 r, bytes32 vs) public {
        cumulative = uint96(bound(cumulative, 1, type(uint96).max));
        vm.recordLogs();
        assertEq(settle(VoucherBank.Item(bob, 0, cumulative, r, vs)), 0);
        assertEq(vm.getRecordedLogs().length, 0); // not even a bounce against bob's name
    }

    function testFuzz_every_signed_field_counts(uint8 field) public {
        VoucherBank.Item memory item = voucher(bobKey, bob, payee, 3, 10e18);
        field = uint8(bound(field, 0, 3));
        address to = payee;
        if (field == 0) item.payer = carol;
        if (field == 1) to = dave;
        if (field == 2) item.lane = 4;
        if (field == 3) item.cumulative += 1;
        vm.prank(carol);
        bank.deposit(carol, DEPOSIT);
        assertEq(bank.settle(to, one(item), false), 0);
    }

    function test_another_chain_another_bank_and_high_s_pay_nothing() public {
        VoucherBank.Item memory item = voucher(bobKey, bob, payee, 0, 1e18);
        vm.chainId(999);
        assertEq(settle(item), 0);
        vm.chainId(31337);
        VoucherBank second = new VoucherBank(bank.token(), EXIT, guardian);
        vm.startPrank(carol);
        token.approve(address(second), DEPOSIT);
        second.deposit(bob, DEPOSIT);
        vm.stopPrank();
        assertEq(second.settle(payee, one(item), false), 0);
        bytes32 good = item.vs;
        item.vs = bytes32((N - (uint256(good) & uint256(type(int256).max))) | (uint256(good) >> 255 == 0 ? 1 << 255 : 0));
        assertEq(settle(item), 0);
        item.vs = good;
        assertEq(settle(item), 1e18);
    }

    /// The payer zero is what ecrecover answers for nonsense.
    function test_nobody_signs_for_address_zero() public {
        vm.prank(carol);
        bank.deposit(address(0), DEPOSIT);
        assertEq(settle(VoucherBank.Item(address(0), 0, 1e18, bytes32(0), bytes32(0))), 0);
        assertEq(settle(VoucherBank.Item(address(0), 0, 1e18, bytes32(uint256(1)), bytes32(uint256(1) << 255))), 0);
    }

    function test_a_short_account_pays_what_it_has_and_bounces() public {
        vm.expectEmit(address(bank));
        emit VoucherBank.Bounced(bob, payee, 0, 20e18);
        assertEq(settle(voucher(bobKey, bob, payee, 0, DEPOSIT + 20e18)), DEPOSIT);
        vm.prank(bob);
        bank.deposit(bob, 50e18);
        assertEq(settle(voucher(bobKey, bob, payee, 0, DEPOSIT + 20e18)), 20e18); // the same voucher again
        assertEq(free(bob), 30e18);
    }

    function test_into_the_bank_earnings_can_be_spent_at_once() public {
        VoucherBank.Item[] memory items = one(voucher(bobKey, bob, carol, 0, 7e18));
        vm.prank(carol);
        assertEq(bank.settle(carol, items, true), 7e18);
        assertEq(free(carol), 7e18);
        assertEq(settle(voucher(carolKey, carol, payee, 0, 7e18)), 7e18);
    }

    function test_only_the_payee_chooses_the_bank_and_contracts_settle_for_themselves() public {
        VoucherBank.Item[] memory items = one(voucher(bobKey, bob, carol, 0, 7e18));
        vm.expectRevert(VoucherBank.NotPayee.selector);
        bank.settle(carol, items, true);
        assertEq(bank.settle(carol, items, false), 7e18);
        items = one(voucher(bobKey, bob, address(models), 0, 7e18));
        vm.expectRevert(VoucherBank.NotPayee.selector); // or the money would lie there unbooked
        bank.settle(address(models), items, false);
    }

    function test_many_payers_in_one_batch_the_bad_ones_skipped() public {
        vm.prank(carol);
        bank.deposit(carol, 5e18);
        VoucherBank.Item[] memory items = new VoucherBank.Item[](4);
        items[0] = voucher(bobKey, bob, payee, 0, 1e18);
        items[1] = voucher(carolKey, bob, payee, 1, 1e18); // carol signs for bob
        items[2] = voucher(carolKey, carol, payee, 9, 2e18);
        items[3] = voucher(bobKey, bob, payee, 7, 4e18);
        assertEq(bank.settle(payee, items, false), 7e18);
        assertEq(bank.settle(payee, new VoucherBank.Item[](0), false), 0);
    }

    // ------------------------------------------------------------------------------------------------ reserve

    function test_reserved_money_is_hard_cover_for_its_lane() public {
        uint64 until = uint64(block.timestamp + 1 days);
        vm.startPrank(bob);
        bank.reserve(payee, 5, 60e18, until);
        vm.expectRevert(VoucherBank.NotEnough.selector);
        bank.reserve(payee, 5, 41e18, until);
        vm.expectRevert(VoucherBank.TooLong.selector);
        bank.reserve(payee, 5, 1, uint64(block.timestamp + 365 days + 1));
        vm.expectRevert(VoucherBank.StillReserved.selector);
        bank.release(payee, 5);
        vm.stopPrank();
        // another payee empties the account, the reserve stays
        assertEq(bank.settle(dave, one(voucher(bobKey, bob, dave, 0, DEPOSIT)), false), 40e18);
        assertEq(free(bob), 0);
        assertEq(settle(voucher(bobKey, bob, payee, 4, 10e18)), 0); // another lane of the same payee
        assertEq(settle(voucher(bobKey, bob, payee, 5, 25e18)), 25e18);
        (, uint96 reserved,) = bank.lanes(bob, payee, 5);
        assertEq(reserved, 35e18);
        vm.warp(until);
        vm.prank(bob);
        bank.release(payee, 5);
        assertEq(free(bob), 35e18);
        (uint96 p, uint96 rest, uint64 till) = bank.lanes(bob, payee, 5);
        assertEq(p, 25e18);
        assertEq(rest, 0);
        assertEq(till, until);
    }

    function test_reserve_first_then_the_free_money() public {
        vm.prank(bob);
        bank.reserve(payee, 1, 10e18, uint64(block.timestamp + 1));
        assertEq(settle(voucher(bobKey, bob, payee, 1, 25e18)), 25e18);
        (, uint96 reserved,) = bank.lanes(bob, payee, 1);
        assertEq(reserved, 0);
        assertEq(free(bob), DEPOSIT - 25e18);
    }

    function test_an_earlier_date_does_not_shorten_a_reserve() public {
        vm.startPrank(bob);
        bank.reserve(payee, 1, 10e18, uint64(block.timestamp + 10 days));
        bank.reserve(payee, 1, 1e18, uint64(block.timestamp + 1));
        vm.stopPrank();
        (, uint96 reserved, uint64 until) = bank.lanes(bob, payee, 1);
        assertEq(reserved, 11e18);
        assertEq(until, block.timestamp + 10 days);
    }

    // ------------------------------------------------------------------------------------------------ delegates

    function delegate(uint96 cap) internal returns (uint256 key, address hot) {
        key = 0x407;
        hot = vm.addr(key);
        vm.prank(bob);
        bank.setDelegate(hot, uint64(block.timestamp + 10 days), cap);
    }

    function test_a_delegate_signs_until_his_time_and_up_to_his_cap() public {
        (uint256 key, address hot) = delegate(10e18);
        assertEq(settle(voucher(key, bob, payee, 0, 4e18)), 4e18);
        vm.expectEmit(address(bank));
        emit VoucherBank.Bounced(bob, payee, 1, 3e18);
        assertEq(settle(voucher(key, bob, payee, 1, 9e18)), 6e18); // 10 in all, over all lanes
        assertEq(settle(voucher(key, bob, payee, 2, 1e18)), 0);
        assertEq(settle(voucher(bobKey, bob, payee, 2, 1e18)), 1e18); // the owner is not capped
        (uint64 until, uint96 cap, uint96 spent) = bank.delegates(bob, hot);
        assertEq(cap, 10e18);
        assertEq(spent, 10e18);
        vm.warp(until);
        vm.prank(bob);
        bank.setDelegate(hot, until + 1, 20e18); // expired: begins anew
        assertEq(settle(voucher(key, bob, payee, 2, 3e18)), 2e18);
        vm.warp(until + 1);
        assertEq(settle(voucher(key, bob, payee, 2, 9e18)), 0);
    }

    function test_an_uncapped_delegate_and_a_stranger() public {
        (uint256 key, address hot) = delegate(type(uint96).max);
        assertEq(settle(voucher(key, bob, payee, 0, 30e18)), 30e18);
        (,, uint96 spent) = bank.delegates(bob, hot);
        assertEq(spent, 0);
        assertEq(settle(voucher(key, carol, payee, 0, 1e18)), 0); // not carol's delegate
        assertEq(settle(voucher(0xBAD, bob, payee, 0, 31e18)), 0);
    }

    function test_shortening_a_delegate_waits_for_the_exit_delay() public {
        (uint256 key, address hot) = delegate(10e18);
        uint64 expected = uint64(block.timestamp) + EXIT;
        vm.prank(bob);
        bank.setDelegate(hot, 0, 10e18);
        (uint64 until,,) = bank.delegates(bob, hot);
        assertEq(until, expected);
        assertEq(settle(voucher(key, bob, payee, 0, 1e18)), 1e18); // a voucher in flight
        vm.prank(bob);
        bank.setDelegate(hot, 0, 10e18); // no push beyond what is set
        (until,,) = bank.delegates(bob, hot);
        assertEq(until, expected);
        vm.startPrank(bob);
        vm.expectRevert(VoucherBank.CapLowered.selector);
        bank.setDelegate(hot, until, 9e18);
        bank.setDelegate(hot, until, 11e18);
        vm.stopPrank();
        vm.warp(expected);
        assertEq(settle(voucher(key, bob, payee, 0, 2e18)), 0);
    }

    function test_raising_a_cap_keeps_what_was_spent() public {
        (uint256 key, address hot) = delegate(10e18);
        settle(voucher(key, bob, payee, 0, 10e18));
        vm.prank(bob);
        bank.setDelegate(hot, uint64(block.timestamp + 20 days), 15e18);
        assertEq(settle(voucher(key, bob, payee, 0, 40e18)), 5e18);
    }

    // ------------------------------------------------------------------------------------------------ ERC-1271

    function test_contract_wallets_pay_by_their_own_rule() public {
        Wallet wallet = new Wallet(carol);
        vm.prank(carol);
        bank.deposit(address(wallet), 10e18);
        assertEq(settle(voucher(bobKey, address(wallet), payee, 0, 1e18)), 0);
        assertEq(settle(voucher(carolKey, address(wallet), payee, 0, 1e18)), 1e18);
    }

    function test_a_wallet_that_eats_gas_cannot_block_the_batch() public {
        GasEater eater = new GasEater();
        vm.prank(carol);
        bank.deposit(address(eater), 10e18);
        VoucherBank.Item[] memory items = new VoucherBank.Item[](2);
        items[0] = voucher(carolKey, address(eater), payee, 0, 1e18);
        items[1] = voucher(bobKey, bob, payee, 0, 2e18);
        uint256 gas = gasleft();
        assertEq(bank.settle(payee, items, false), 2e18);
        assertLt(gas - gasleft(), 300_000);
    }

    // ------------------------------------------------------------------------------------------------ exit

    function test_exit_waits_and_vouchers_go_first() public {
        vm.startPrank(bob);
        vm.expectRevert(VoucherBank.ExitNotReady.selector);
        bank.finishExit();
        bank.startExit(DEPOSIT);
        vm.warp(block.timestamp + EXIT - 1);
        vm.expectRevert(VoucherBank.ExitNotReady.selector);
        bank.finishExit();
        vm.stopPrank();
        assertEq(settle(voucher(bobKey, bob, payee, 0, 30e18)), 30e18); // while leaving
        vm.warp(block.timestamp + 1);
        uint256 before = token.balanceOf(bob);
        vm.startPrank(bob);
        bank.finishExit();
        assertEq(token.balanceOf(bob) - before, 70e18);
        vm.expectRevert(VoucherBank.ExitNotReady.selector);
        bank.finishExit();
        vm.stopPrank();
        assertEq(free(bob), 0);
    }

    function test_exit_in_part_leaves_the_rest() public {
        vm.startPrank(bob);
        bank.startExit(30e18);
        vm.warp(block.timestamp + EXIT);
        bank.finishExit();
        vm.stopPrank();
        assertEq(free(bob), 70e18);
        (, uint96 exiting, uint64 at) = bank.accounts(bob);
        assertEq(exiting, 0);
        assertEq(at, 0);
    }

    function test_settling_does_not_touch_an_exit_in_progress() public {
        vm.prank(bob);
        bank.startExit(80e18);
        settle(voucher(bobKey, bob, payee, 0, 1e18));
        (uint96 f, uint96 exiting, uint64 at) = bank.accounts(bob);
        assertEq(f, 99e18);
        assertEq(exiting, 80e18);
        assertEq(at, block.timestamp + EXIT);
    }
}
