// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {KeySaleTypes} from "../src/KeySaleTypes.sol";
import {Reputation} from "../src/Reputation.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

contract ReputationTest is Base {
    uint96 constant PRICE = 10e18;
    uint96 constant BOND = 5_000e18;
    bytes32 constant CK = keccak256("content key");
    bytes32 constant MODEL = keccak256("model");
    uint256 constant B = 0xB0B;
    uint256 offerId;

    function setUp() public override {
        super.setUp();
        Payload memory p = sealPayload(CK, 4, 1, 99); // cell 1 is junk
        uint64 dataset = register(alice, p.root, p.cells);
        vm.prank(alice);
        offerId = sale.offer(dataset, PRICE, BOND);
    }

    function factsOf(address who) internal view returns (Reputation.Facts memory f) {
        (f.sold, f.bought, f.disputesLost, f.since, f.soldWei, f.spentWei) = reputation.facts(who);
    }

    function buy(address buyer) internal returns (uint256 id) {
        id = lockAs(buyer, offerId, B);
        vm.prank(buyer);
        sale.confirm(id);
    }

    function disputeJunk(uint256 id) internal {
        Payload memory p = sealPayload(CK, 4, 1, 99);
        (, bytes32[] memory path) = merkle(p.leaves, 1);
        address buyer = sale.sales(id).buyer;
        vm.prank(buyer);
        sale.disputeCell(id, 1, p.keys[1], p.ptHashes[1], p.ciphertexts[1], path);
    }

    // ------------------------------------------------------------------------------------------------ sales

    function test_a_paid_sale_is_counted_once_for_both_sides() public {
        uint256 paidAt = block.timestamp;
        uint256 id = buy(bob);
        vm.warp(paidAt + 5 days);
        vm.expectEmit(address(reputation));
        emit Reputation.SaleCounted(id, alice, bob, PRICE);
        vm.prank(dave); // anybody may bring it
        assertEq(reputation.countSales(asArray(id)), 1);
        assertTrue(reputation.isSaleCounted(id));
        Reputation.Facts memory seller = factsOf(alice);
        assertEq(seller.sold, 1);
        assertEq(seller.bought, 0);
        assertEq(seller.soldWei, PRICE);
        assertEq(seller.spentWei, 0);
        assertEq(seller.since, paidAt);
        Reputation.Facts memory buyer = factsOf(bob);
        assertEq(buyer.sold, 0);
        assertEq(buyer.bought, 1);
        assertEq(buyer.soldWei, 0);
        assertEq(buyer.spentWei, PRICE);
        assertEq(buyer.since, paidAt);
        assertEq(reputation.countSales(asArray(id)), 0);
        assertEq(abi.encode(factsOf(alice)), abi.encode(seller));
        assertEq(abi.encode(factsOf(bob)), abi.encode(buyer));
        assertEq(abi.encode(factsOf(dave)), abi.encode(factsOf(address(0)))); // a messenger gains nothing
    }

    function test_what_is_not_paid_is_skipped_and_stops_nothing() public {
        uint256[] memory ids = new uint256[](6);
        ids[0] = lockAs(bob, offerId, B); // open
        ids[1] = buy(bob);
        ids[2] = ids[1]; // twice
        ids[3] = (offerId + 9) << 64 | 1; // no such sale
        ids[4] = lockAs(carol, offerId, B); // refunded
        vm.warp(block.timestamp + DELIVER + 1);
        sale.refund(ids[4]);
        ids[5] = buy(carol);
        assertEq(reputation.countSales(ids), 2);
        assertEq(factsOf(alice).sold, 2);
        assertEq(factsOf(bob).bought, 1);
        assertEq(factsOf(carol).bought, 1);
        sale.refund(ids[0]);
        assertEq(reputation.countSales(ids), 0);
    }

    function test_a_sale_that_is_paid_later_is_counted_then() public {
        uint256 id = lockAs(bob, offerId, B);
        assertEq(reputation.countSales(asArray(id)), 0);
        vm.prank(bob);
        sale.confirm(id);
        assertEq(reputation.countSales(asArray(id)), 1);
    }

    function test_a_sale_whose_share_was_taken_back_is_counted_once() public {
        uint256 before = buy(bob);
        uint256 id = buy(bob);
        assertEq(reputation.countSales(asArray(before)), 1);
        disputeJunk(id);
        vm.startPrank(bob);
        sale.reclaim(before);
        sale.reclaim(id);
        vm.stopPrank();
        assertEq(reputation.countSales(asArray(before)), 0);
        assertEq(reputation.countSales(asArray(id)), 1);
        assertEq(factsOf(alice).sold, 2);
        assertEq(factsOf(bob).spentWei, 2 * PRICE);
    }

    function test_since_is_the_earliest_fact_whatever_the_order() public {
        uint256 first = buy(bob);
        uint256 at = block.timestamp;
        vm.warp(at + 3 days);
        uint256 second = buy(bob);
        reputation.countSales(asArray(second));
        assertEq(factsOf(alice).since, at + 3 days);
        reputation.countSales(asArray(first));
        assertEq(factsOf(alice).since, at);
        assertEq(factsOf(bob).since, at);
    }

    /// Any list of sales in any state, with repetitions: as many as there are different paid ones.
    function testFuzz_every_paid_sale_counts_once(uint256 seed, uint8 rounds) public {
        uint256[] memory ids = new uint256[](300); // more than one word of the bitmap
        uint256 paid;
        for (uint256 i; i < 20; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            if (seed % 3 == 0) {
                ids[i] = lockAs(carol, offerId, B);
            } else {
                ids[i] = buy(bob);
                ++paid;
            }
        }
        for (uint256 i = 20; i < 300; ++i) ids[i] = ids[uint256(keccak256(abi.encode(seed, i))) % 20];
        uint256 counted = reputation.countSales(ids);
        for (uint256 i; i < rounds % 3; ++i) assertEq(reputation.countSales(ids), 0);
        assertEq(counted, paid);
        assertEq(factsOf(alice).sold, paid);
        assertEq(factsOf(alice).soldWei, paid * PRICE);
        assertEq(factsOf(bob).bought, paid);
        assertEq(factsOf(bob).spentWei, paid * PRICE);
        assertEq(factsOf(carol).bought, 0);
    }

    function test_neighbours_in_the_bitmap_are_told_apart() public {
        uint256[] memory ids = new uint256[](258);
        for (uint256 i; i < 258; ++i) ids[i] = buy(bob);
        assertEq(reputation.countSales(asArray(ids[255])), 1);
        assertFalse(reputation.isSaleCounted(ids[254]));
        assertFalse(reputation.isSaleCounted(ids[256]));
        assertFalse(reputation.isSaleCounted(ids[255] + 256));
        assertEq(reputation.countSales(ids), 257);
        uint256 other = offerOf(alice, PRICE, BOND);
        uint256 id = lockAs(bob, other, B);
        vm.prank(bob);
        sale.confirm(id);
        assertEq(reputation.countSales(asArray(id)), 1); // the same number of another offer
    }

    // ------------------------------------------------------------------------------------------------ faults

    function test_a_fault_is_counted_once() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.expectRevert(Reputation.NotBad.selector);
        reputation.countFault(offerId);
        disputeJunk(id);
        vm.warp(block.timestamp + 3);
        vm.expectEmit(address(reputation));
        emit Reputation.FaultCounted(offerId, alice);
        reputation.countFault(offerId);
        assertTrue(reputation.isFaultCounted(offerId));
        assertEq(factsOf(alice).disputesLost, 1);
        assertEq(factsOf(alice).since, block.timestamp);
        assertEq(factsOf(alice).sold, 0);
        vm.expectRevert(Reputation.AlreadyCounted.selector);
        reputation.countFault(offerId);
        vm.expectRevert(Reputation.NotBad.selector);
        reputation.countFault(offerId + 1);
        assertEq(reputation.countSales(asArray(id)), 0); // refunded: no sale
    }

    function test_a_closed_offer_is_no_fault() public {
        vm.prank(alice);
        sale.close(offerId);
        vm.expectRevert(Reputation.NotBad.selector);
        reputation.countFault(offerId);
    }

    // ------------------------------------------------------------------------------------------------ lanes

    function publish() internal {
        publishAlone(alice, MODEL, 10_000);
    }

    function use(uint256 key, address payer, uint96 cumulative) internal {
        models.settle(MODEL, one(voucher(key, payer, address(models), models.laneOf(MODEL), cumulative)));
    }

    function test_a_lane_counts_by_what_was_newly_settled() public {
        publish();
        vm.prank(bob);
        bank.deposit(bob, 100e18);
        vm.prank(carol);
        bank.deposit(carol, 100e18);
        vm.expectRevert(Reputation.NothingNewSettled.selector);
        reputation.countLane(MODEL, bob);
        use(bobKey, bob, 7e18);
        use(carolKey, carol, 1e18);
        vm.warp(block.timestamp + 5);
        vm.expectEmit(address(reputation));
        emit Reputation.LaneCounted(MODEL, alice, bob, 7e18);
        vm.prank(dave);
        assertEq(reputation.countLane(MODEL, bob), 7e18);
        assertEq(factsOf(bob).spentWei, 7e18);
        assertEq(factsOf(bob).bought, 0);
        assertEq(factsOf(bob).since, block.timestamp);
        assertEq(factsOf(alice).soldWei, 7e18);
        assertEq(factsOf(alice).sold, 0);
        assertEq(factsOf(alice).since, block.timestamp);
        assertEq(factsOf(carol).spentWei, 0);
        vm.expectRevert(Reputation.NothingNewSettled.selector);
        reputation.countLane(MODEL, bob);
        use(bobKey, bob, 9e18);
        assertEq(reputation.countLane(MODEL, bob), 2e18);
        assertEq(reputation.countLane(MODEL, carol), 1e18);
        assertEq(factsOf(bob).spentWei, 9e18);
        assertEq(factsOf(alice).soldWei, 10e18);
        assertEq(reputation.laneCounted(MODEL, bob), 9e18);
    }

    function test_another_id_with_the_same_lane_counts_nothing() public {
        publish();
        vm.prank(bob);
        bank.deposit(bob, 100e18);
        use(bobKey, bob, 7e18);
        bytes32 twin = bytes32(uint256(MODEL) ^ (1 << 200));
        assertEq(models.laneOf(twin), models.laneOf(MODEL));
        vm.expectRevert(Reputation.UnknownModel.selector);
        reputation.countLane(twin, bob);
    }

    /// However the settlements and the countings interleave, the facts are what the bank paid.
    function testFuzz_a_lanes_facts_are_what_was_settled(uint96[8] memory amounts, uint8 when) public {
        publish();
        vm.prank(bob);
        bank.deposit(bob, 900_000e18);
        uint96 cumulative;
        for (uint256 i; i < 8; ++i) {
            cumulative += uint96(bound(amounts[i], 1, 100_000e18));
            use(bobKey, bob, cumulative);
            if (when >> i & 1 == 1) reputation.countLane(MODEL, bob);
        }
        (uint96 paid,,) = bank.lanes(bob, address(models), models.laneOf(MODEL));
        if (when >> 7 == 0) reputation.countLane(MODEL, bob);
        assertEq(factsOf(bob).spentWei, paid);
        assertEq(factsOf(alice).soldWei, paid);
    }
}
