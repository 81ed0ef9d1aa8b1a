// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "./Base.sol";
import {StakeVault} from "../src/StakeVault.sol";

contract StakeVaultTest is Base {
    StakeVault vault;
    address slasher = makeAddr("slasher");
    address other = makeAddr("another slasher");

    function setUp() public override {
        super.setUp();
        address[] memory slashers = new address[](2);
        (slashers[0], slashers[1]) = (slasher, other);
        vault = new StakeVault(IERC20(address(token)), UNBONDING, slashers);
        vm.prank(bob);
        token.approve(address(vault), type(uint256).max);
    }

    function stake(uint96 amount) internal {
        vm.prank(bob);
        vault.stake(amount);
    }

    function bind(address by, uint96 amount) internal {
        vm.prank(by);
        vault.bind(bob, amount);
    }

    function held() internal view returns (uint256) {
        return token.balanceOf(address(vault));
    }

    function leaving(address who) internal view returns (uint256 amount) {
        (, amount,) = vault.accounts(who);
    }

    // ------------------------------------------------------------------------------------------------ in and out

    function testFuzz_what_goes_in_comes_out_after_the_delay(uint96 amount, uint96 part) public {
        amount = uint96(bound(amount, 1, 1000e18));
        part = uint96(bound(part, 0, amount));
        uint256 before = token.balanceOf(bob);
        stake(amount);
        assertEq(held(), amount);
        assertEq(vault.available(bob), amount);
        vm.startPrank(bob);
        vault.unbond(part);
        assertEq(vault.available(bob), amount - part);
        assertEq(vault.withdraw(), 0);
        vm.warp(block.timestamp + UNBONDING - 1);
        assertEq(vault.withdraw(), 0);
        vm.warp(block.timestamp + 1);
        assertEq(vault.withdraw(), part);
        assertEq(vault.withdraw(), 0);
        vm.stopPrank();
        assertEq(token.balanceOf(bob), before - amount + part);
        assertEq(held(), amount - part);
    }

    function test_more_than_is_there_cannot_leave() public {
        stake(10);
        vm.startPrank(bob);
        vm.expectRevert(StakeVault.NotEnough.selector);
        vault.unbond(11);
        vault.unbond(10);
        vm.expectRevert(StakeVault.NotEnough.selector);
        vault.unbond(1);
        vm.stopPrank();
    }

    function test_asking_again_waits_anew_for_all_of_it() public {
        stake(10);
        vm.startPrank(bob);
        vault.unbond(4);
        vm.warp(block.timestamp + UNBONDING - 1);
        vault.unbond(6);
        vm.warp(block.timestamp + 1);
        assertEq(vault.withdraw(), 0);
        vm.warp(block.timestamp + UNBONDING);
        assertEq(vault.withdraw(), 10);
        vm.stopPrank();
    }

    function test_what_leaves_cannot_be_bound() public {
        stake(10);
        vm.prank(bob);
        vault.unbond(4);
        vm.expectRevert(StakeVault.NotEnough.selector);
        bind(slasher, 7);
        bind(slasher, 6);
    }

    function test_nobody_stakes_what_he_has_not() public {
        vm.startPrank(dave);
        token.approve(address(vault), 1);
        vm.expectRevert();
        vault.stake(1);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------------------------------------ slashers

    function test_only_slashers_bind_free_and_slash() public {
        stake(10);
        bind(slasher, 5);
        address[3] memory strangers = [bob, dave, admin];
        for (uint256 i; i < 3; ++i) {
            vm.startPrank(strangers[i]);
            vm.expectRevert(StakeVault.NotSlasher.selector);
            vault.bind(bob, 1);
            vm.expectRevert(StakeVault.NotSlasher.selector);
            vault.free(bob, 1);
            vm.expectRevert(StakeVault.NotSlasher.selector);
            vault.slash(bob, 1, dave);
            vm.stopPrank();
        }
    }

    function test_bound_stake_does_not_leave_until_freed() public {
        stake(10);
        bind(slasher, 10);
        assertEq(vault.bound(bob, slasher), 10);
        assertEq(vault.available(bob), 0);
        vm.expectRevert(StakeVault.NotEnough.selector);
        vm.prank(bob);
        vault.unbond(1);
        vm.prank(slasher);
        vault.free(bob, 4);
        assertEq(vault.available(bob), 4);
        assertEq(vault.bound(bob, slasher), 6);
        vm.prank(bob);
        vault.unbond(4);
    }

    function test_the_same_stake_is_not_bound_twice() public {
        stake(10);
        bind(slasher, 6);
        vm.expectRevert(StakeVault.NotEnough.selector);
        bind(other, 5);
        bind(other, 4);
    }

    function test_a_slasher_reaches_only_what_it_has_bound() public {
        stake(10);
        bind(slasher, 6);
        bind(other, 4);
        vm.startPrank(other);
        vm.expectRevert(StakeVault.NotBound.selector);
        vault.slash(bob, 5, dave);
        vm.expectRevert(StakeVault.NotBound.selector);
        vault.free(bob, 5);
        vault.slash(bob, 4, dave);
        vm.expectRevert(StakeVault.NotBound.selector);
        vault.slash(bob, 1, dave);
        vm.stopPrank();
        assertEq(vault.bound(bob, slasher), 6);
    }

    function testFuzz_a_slashed_half_is_credited_the_other_burnt(uint96 amount, uint96 lost) public {
        amount = uint96(bound(amount, 1, 1000e18));
        lost = uint96(bound(lost, 0, amount));
        stake(amount);
        bind(slasher, amount);
        uint256 supply = token.totalSupply();
        vm.prank(slasher);
        vault.slash(bob, lost, dave);
        assertEq(vault.credit(dave), lost / 2);
        assertEq(supply - token.totalSupply(), lost - lost / 2);
        assertEq(held(), amount - (lost - lost / 2));
        vm.prank(dave);
        assertEq(vault.withdraw(), lost / 2);
        assertEq(token.balanceOf(dave), lost / 2);
        vm.prank(slasher);
        vault.free(bob, amount - lost);
        assertEq(vault.available(bob), amount - lost);
        assertEq(held(), amount - lost);
    }

    /// Whoever slashes himself through a friend loses half.
    function testFuzz_slashing_oneself_loses_half(uint96 amount) public {
        amount = uint96(bound(amount, 1, 1000e18));
        uint256 before = token.balanceOf(bob);
        stake(amount);
        bind(slasher, amount);
        vm.prank(slasher);
        vault.slash(bob, amount, bob);
        vm.prank(bob);
        vault.withdraw();
        assertEq(before - token.balanceOf(bob), amount - amount / 2);
    }

    function test_what_was_earned_does_not_wait_for_what_leaves() public {
        stake(10);
        vm.prank(bob);
        vault.unbond(2);
        bind(slasher, 8);
        vm.prank(slasher);
        vault.slash(bob, 8, bob);
        vm.startPrank(bob);
        assertEq(vault.withdraw(), 4);
        assertEq(leaving(bob), 2);
        vm.warp(block.timestamp + UNBONDING);
        assertEq(vault.withdraw(), 2);
        vm.stopPrank();
        assertEq(held(), 0);
    }

    function test_constructor_refusals() public {
        address[] memory none;
        vm.expectRevert(StakeVault.BadSlashers.selector);
        new StakeVault(IERC20(address(token)), 1, none);
        vm.expectRevert(StakeVault.BadSlashers.selector);
        new StakeVault(IERC20(address(token)), 1, new address[](9));
        vm.expectRevert(StakeVault.DelayTooLong.selector);
        new StakeVault(IERC20(address(token)), 365 days + 1, new address[](1));
    }

    /// The suite's own vault knows the two contracts that were deployed after it.
    function test_the_suite_is_wired() public view {
        assertTrue(stakes.isSlasher(address(models)));
        assertTrue(stakes.isSlasher(address(rewards)));
        assertFalse(stakes.isSlasher(address(sale)));
        assertEq(address(models.stakes()), address(stakes));
        assertEq(address(rewards.stakes()), address(stakes));
    }
}
