// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {DataRegistry} from "../src/DataRegistry.sol";

contract DataRegistryTest is Base {
    uint64[] internal parents;

    function reg(bytes32 root, uint32 cells, uint32 records, uint32 quality) internal returns (uint64) {
        return registry.register(root, cells, records, REVIEWS, CC_BY, "consent", quality, parents, hex"0155");
    }

    function test_a_dataset_is_what_was_registered() public {
        vm.prank(alice);
        uint64 id = reg("root", 7, 300, 1_000_000);
        DataRegistry.Dataset memory d = registry.dataset(id);
        assertEq(id, 1);
        assertEq(d.owner, alice);
        assertEq(d.root, "root");
        assertEq(d.cells, 7);
        assertEq(d.records, 300);
        assertEq(d.qualityPpm, 1_000_000);
        assertEq(d.domain, REVIEWS);
        assertEq(d.licence, CC_BY);
        assertEq(d.consentRoot, "consent");
        assertEq(d.registeredAt, block.timestamp);
        assertEq(d.parentsHash, 0);
        assertTrue(registry.isActive(id));
        assertFalse(registry.isActive(2));
        (bytes32 root, uint32 cells) = registry.commitment(id);
        assertEq(root, "root");
        assertEq(cells, 7);
    }

    function test_register_refusals() public {
        vm.expectRevert(DataRegistry.EmptyDataset.selector);
        reg("root", 0, 1, 0);
        vm.expectRevert(DataRegistry.EmptyDataset.selector);
        reg("root", 1, 0, 0);
        vm.expectRevert(DataRegistry.EmptyDataset.selector);
        reg(0, 1, 1, 0);
        vm.expectRevert(DataRegistry.QualityOutOfRange.selector);
        reg("root", 1, 1, 1_000_001);
        vm.expectRevert(DataRegistry.CidTooLong.selector);
        registry.register("root", 1, 1, REVIEWS, CC_BY, 0, 0, parents, new bytes(129));
    }

    function test_parents_exist_are_active_and_make_no_circle() public {
        uint64 first = reg("a", 1, 1, 0);
        parents.push(first);
        uint64 child = reg("b", 1, 1, 0);
        assertEq(registry.dataset(child).parentsHash, keccak256(abi.encode(parents)));
        assertEq(registry.dataset(child).parentCount, 1);
        parents[0] = child + 1; // itself
        vm.expectRevert(abi.encodeWithSelector(DataRegistry.ParentNotActive.selector, child + 1));
        reg("c", 1, 1, 0);
        parents[0] = 99;
        vm.expectRevert(abi.encodeWithSelector(DataRegistry.ParentNotActive.selector, 99));
        reg("c", 1, 1, 0);
        registry.revoke(first);
        parents[0] = first;
        vm.expectRevert(abi.encodeWithSelector(DataRegistry.ParentNotActive.selector, first));
        reg("c", 1, 1, 0);
        parents = new uint64[](33);
        vm.expectRevert(DataRegistry.TooManyParents.selector);
        reg("c", 1, 1, 0);
    }

    function test_only_the_owner_revokes_and_only_once() public {
        vm.prank(alice);
        uint64 id = reg("root", 1, 1, 0);
        vm.expectRevert(DataRegistry.NotOwner.selector);
        registry.revoke(id);
        vm.startPrank(alice);
        registry.revoke(id);
        assertFalse(registry.isActive(id));
        assertEq(registry.dataset(id).revokedAt, block.timestamp);
        vm.expectRevert(DataRegistry.AlreadyRevoked.selector);
        registry.revoke(id);
        vm.stopPrank();
    }
}
