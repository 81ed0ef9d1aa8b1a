// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Base} from "./Base.sol";
import {Directory} from "../src/Directory.sol";

contract DirectoryTest is Base {
    bytes32 constant SALE = "sale";

    function scheduled(bytes32 name, address target) internal {
        vm.prank(admin);
        directory.schedule(name, target);
    }

    function test_names_are_those_of_the_deployment() public view {
        bytes32[] memory names = directory.names();
        assertEq(names.length, 2);
        assertEq(names[0], "token");
        assertEq(names[1], SALE);
        assertEq(directory.lookup(SALE), address(sale));
        assertEq(directory.lookup("token"), address(token));
        assertEq(directory.lookup("unheard of"), address(0));
        assertEq(directory.owner(), admin);
    }

    function test_a_deployment_must_be_sound() public {
        bytes32[] memory names = new bytes32[](2);
        address[] memory targets = new address[](2);
        (names[0], names[1]) = (SALE, SALE);
        (targets[0], targets[1]) = (address(sale), address(bank));
        vm.expectRevert(Directory.NameTwice.selector);
        new Directory(admin, 1, names, targets);
        names[1] = 0;
        vm.expectRevert(Directory.NoName.selector);
        new Directory(admin, 1, names, targets);
        names[1] = "bank";
        targets[1] = dave;
        vm.expectRevert(Directory.NotAContract.selector);
        new Directory(admin, 1, names, targets);
        vm.expectRevert(Directory.LengthMismatch.selector);
        new Directory(admin, 1, names, new address[](1));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        new Directory(address(0), 1, names, targets);
    }

    function test_a_change_counts_after_the_delay_and_anybody_may_enact_it() public {
        uint64 readyAt = uint64(block.timestamp) + DIRECTORY_DELAY;
        vm.expectEmit(address(directory));
        emit Directory.Scheduled(SALE, address(bank), readyAt);
        scheduled(SALE, address(bank));
        (address target, uint64 when) = directory.pending(SALE);
        assertEq(target, address(bank));
        assertEq(when, readyAt);
        assertEq(directory.lookup(SALE), address(sale));
        vm.warp(readyAt - 1);
        vm.expectRevert(Directory.TooEarly.selector);
        directory.enact(SALE);
        vm.warp(readyAt);
        vm.expectEmit(address(directory));
        emit Directory.Named(SALE, address(bank), address(sale));
        vm.prank(dave);
        directory.enact(SALE);
        assertEq(directory.lookup(SALE), address(bank));
        assertEq(directory.names().length, 2);
        (target, when) = directory.pending(SALE);
        assertEq(target, address(0));
        assertEq(when, 0);
        vm.expectRevert(Directory.NothingPending.selector);
        directory.enact(SALE);
    }

    function test_a_new_name_is_listed_when_it_counts() public {
        scheduled("stakes", address(bank));
        assertEq(directory.names().length, 2);
        assertEq(directory.lookup("stakes"), address(0));
        vm.warp(block.timestamp + DIRECTORY_DELAY);
        directory.enact("stakes");
        assertEq(directory.names().length, 3);
        assertEq(directory.names()[2], "stakes");
        assertEq(directory.lookup("stakes"), address(bank));
    }

    function test_only_the_owner_schedules_and_cancels() public {
        bytes memory refusal = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, dave);
        vm.startPrank(dave);
        vm.expectRevert(refusal);
        directory.schedule(SALE, address(bank));
        vm.expectRevert(refusal);
        directory.cancel(SALE);
        vm.stopPrank();
        scheduled(SALE, address(bank));
        vm.expectRevert(refusal);
        vm.prank(dave);
        directory.cancel(SALE);
    }

    function test_schedule_refuses_what_can_only_be_a_mistake() public {
        vm.startPrank(admin);
        vm.expectRevert(Directory.NoName.selector);
        directory.schedule(0, address(bank));
        vm.expectRevert(Directory.NotAContract.selector);
        directory.schedule(SALE, dave);
        vm.expectRevert(Directory.NotAContract.selector);
        directory.schedule(SALE, address(0));
        vm.stopPrank();
    }

    function test_a_cancelled_change_never_counts() public {
        vm.expectRevert(Directory.NothingPending.selector);
        vm.prank(admin);
        directory.cancel(SALE);
        scheduled(SALE, address(bank));
        vm.expectEmit(address(directory));
        emit Directory.Cancelled(SALE, address(bank));
        vm.prank(admin);
        directory.cancel(SALE);
        vm.warp(block.timestamp + 2 * DIRECTORY_DELAY);
        vm.expectRevert(Directory.NothingPending.selector);
        directory.enact(SALE);
        assertEq(directory.lookup(SALE), address(sale));
    }

    /// Or the delay could be spent on a harmless target, and another one slipped in at its end.
    function test_a_change_of_mind_waits_anew() public {
        scheduled(SALE, address(bank));
        vm.warp(block.timestamp + DIRECTORY_DELAY);
        scheduled(SALE, address(models));
        vm.expectRevert(Directory.TooEarly.selector);
        directory.enact(SALE);
        vm.warp(block.timestamp + DIRECTORY_DELAY);
        directory.enact(SALE);
        assertEq(directory.lookup(SALE), address(models));
    }

    function test_names_wait_apart() public {
        scheduled(SALE, address(bank));
        vm.warp(block.timestamp + 1);
        scheduled("token", address(bank));
        vm.warp(block.timestamp + DIRECTORY_DELAY - 1);
        directory.enact(SALE);
        vm.expectRevert(Directory.TooEarly.selector);
        directory.enact("token");
    }

    function test_ownership_moves_in_two_steps() public {
        vm.prank(admin);
        directory.transferOwnership(dave);
        assertEq(directory.owner(), admin);
        vm.prank(dave);
        directory.acceptOwnership();
        assertEq(directory.owner(), dave);
    }

    /// Never before the delay, always from it on, whatever the delay.
    function testFuzz_the_delay_is_kept(uint32 delay, uint32 passed) public {
        bytes32[] memory none;
        address[] memory nowhere;
        Directory d = new Directory(admin, delay, none, nowhere);
        vm.prank(admin);
        d.schedule(SALE, address(sale));
        vm.warp(block.timestamp + passed);
        if (passed < delay) vm.expectRevert(Directory.TooEarly.selector);
        d.enact(SALE);
        assertEq(d.lookup(SALE), passed < delay ? address(0) : address(sale));
    }
}
