// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Vm.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "./Base.sol";
import {Curve} from "../src/Curve.sol";
import {EntryPause} from "../src/EntryPause.sol";
import {KeySale} from "../src/KeySale.sol";
import {KeySaleTypes} from "../src/KeySaleTypes.sol";

contract KeySaleTest is Base {
    uint96 constant PRICE = 10e18;
    uint96 constant BOND = 50e18;
    bytes32 constant CK = keccak256("content key");
    uint256 constant B = 0xB0B;
    uint256 constant E = 0xA11CE;
    uint256 offerId;

    function setUp() public override {
        super.setUp();
        offerId = offerOf(alice, PRICE, BOND);
    }

    /// What a paid sale gives the seller at once: the price without the fee and the share held back.
    function atOnce(uint256 price) internal view returns (uint256) {
        return price - sale.feeOf(price) - sale.heldShare(price);
    }

    function state(uint256 saleId) internal view returns (KeySaleTypes.State) {
        return sale.sales(saleId).state;
    }

    // ------------------------------------------------------------------------------------------------ offers

    function test_offer_takes_root_and_bond_from_the_registry() public view {
        KeySaleTypes.Offer memory o = sale.offers(offerId);
        assertEq(o.seller, alice);
        assertEq(o.root, keccak256("root"));
        assertEq(o.cells, 4);
        assertEq(o.price, PRICE);
        assertEq(o.bond, BOND);
        assertEq(o.maxOpen, 5);
        assertEq(uint8(o.status), uint8(KeySaleTypes.Status.Open));
        assertEq(token.balanceOf(address(sale)), BOND);
        assertEq(sale.owedFor(offerId), BOND);
    }

    function test_offer_refusals() public {
        uint64 dataset = register(alice, keccak256("r"), 4);
        vm.expectRevert(KeySaleTypes.NotDatasetOwner.selector);
        vm.prank(bob);
        sale.offer(dataset, PRICE, BOND);
        vm.startPrank(alice);
        vm.expectRevert(KeySaleTypes.PriceOutOfRange.selector);
        sale.offer(dataset, 0, BOND);
        vm.expectRevert(KeySaleTypes.PriceOutOfRange.selector);
        sale.offer(dataset, uint96(1) << 88, type(uint96).max);
        vm.expectRevert(KeySaleTypes.BondTooSmall.selector);
        sale.offer(dataset, PRICE, PRICE - 1);
        vm.expectRevert(KeySaleTypes.BondTooSmall.selector);
        sale.offer(dataset, 1, MIN_BOND - 1);
        registry.revoke(dataset);
        vm.expectRevert(KeySaleTypes.DatasetNotActive.selector);
        sale.offer(dataset, PRICE, BOND);
        vm.stopPrank();
    }

    function test_fee_above_a_tenth_and_holdback_above_half_cannot_be_deployed() public {
        IERC20 t = IERC20(address(token));
        vm.expectRevert(KeySaleTypes.FeeTooHigh.selector);
        new KeySale(t, registry, 1, 1, 1, 1_001, guardian, 5_000, 1);
        vm.expectRevert(KeySaleTypes.HoldbackTooHigh.selector);
        new KeySale(t, registry, 1, 1, 1, 1_000, guardian, 5_001, 1);
        vm.expectRevert(KeySaleTypes.NoFeedbackWindow.selector);
        new KeySale(t, registry, 1, 1, 1, 1_000, guardian, 5_000, 0);
        assertEq(new KeySale(t, registry, 1, 7, 1, 1_000, guardian, 5_000, 6).bondWindow(), 7);
        assertEq(new KeySale(t, registry, 1, 7, 1, 1_000, guardian, 5_000, 8).bondWindow(), 8);
    }

    function test_pause_stops_offers_and_nothing_else() public {
        uint256 open = lockAs(bob, offerId, B);
        uint64 dataset = register(alice, keccak256("r"), 4);
        vm.expectRevert(EntryPause.NotGuardian.selector);
        sale.setEntryPaused(true);
        vm.prank(guardian);
        sale.setEntryPaused(true);
        vm.expectRevert(EntryPause.EntryIsPaused.selector);
        vm.prank(alice);
        sale.offer(dataset, PRICE, BOND);
        vm.prank(bob);
        sale.confirm(open);
        open = lockAs(bob, offerId, B);
        vm.warp(block.timestamp + DELIVER + 1);
        sale.refund(open);
        vm.prank(bob);
        assertEq(sale.withdraw(), PRICE);
        vm.startPrank(alice);
        assertGt(sale.collectAndWithdraw(asArray(offerId)), 0);
        sale.close(offerId);
        vm.warp(block.timestamp + 2 * FEEDBACK);
        sale.takeBond(offerId);
        assertEq(sale.withdraw(), BOND);
        assertEq(sale.collectAndWithdraw(asArray(offerId)), sale.heldShare(PRICE));
        vm.stopPrank();
        (uint256 bad, uint256 id) = sellJunk(); // offers are paused, disputes are not
        vm.prank(bob);
        sale.confirm(id);
        disputeJunk(id);
        vm.prank(bob);
        assertEq(sale.reclaim(id), sale.heldShare(PRICE));
        assertEq(sale.owedFor(bad), atOnce(PRICE) + sale.feeOf(PRICE));
    }

    // ------------------------------------------------------------------------------------------------ lock

    function test_lock_takes_the_price_and_remembers_the_key() public {
        uint256 before = token.balanceOf(bob);
        uint256 id = lockAs(bob, offerId, B);
        assertEq(id, offerId << 64 | 1);
        assertEq(before - token.balanceOf(bob), PRICE);
        KeySaleTypes.Sale memory s = sale.sales(id);
        assertEq(s.buyer, bob);
        assertEq(s.price, PRICE);
        assertEq(s.deadline, block.timestamp + DELIVER);
        assertEq(s.commitment, bytes32(uint256(uint160(vm.addr(B)))));
        assertEq(sale.owedFor(offerId), BOND + PRICE);
    }

    function test_lock_refusals() public {
        (bytes32 x, bytes32 y) = point(B);
        vm.startPrank(bob);
        vm.expectRevert(KeySaleTypes.PriceAboveMax.selector);
        sale.lock(offerId, PRICE - 1, x, y);
        vm.expectRevert(KeySaleTypes.OfferNotOpen.selector);
        sale.lock(offerId + 1, PRICE, x, y);
        vm.expectRevert(KeySaleTypes.NotOnCurve.selector);
        sale.lock(offerId, PRICE, x, bytes32(uint256(y) + 1));
        vm.expectRevert(KeySaleTypes.NotOnCurve.selector);
        sale.lock(offerId, PRICE, 0, 0);
        vm.expectRevert(KeySaleTypes.NotOnCurve.selector);
        sale.lock(offerId, PRICE, bytes32(type(uint256).max), y);
        vm.stopPrank();
        vm.prank(alice);
        sale.close(offerId);
        vm.expectRevert(KeySaleTypes.OfferNotOpen.selector);
        vm.prank(bob);
        sale.lock(offerId, PRICE, x, y);
    }

    function test_open_sales_stay_within_the_bond() public {
        uint256[] memory ids = new uint256[](5);
        for (uint256 i; i < 5; ++i) ids[i] = lockAs(bob, offerId, B + i);
        (bytes32 x, bytes32 y) = point(B);
        vm.expectRevert(KeySaleTypes.BondFullyUsed.selector);
        vm.prank(carol);
        sale.lock(offerId, PRICE, x, y);
        vm.prank(bob);
        sale.confirm(ids[2]);
        lockAs(carol, offerId, B);
    }

    function test_a_revoked_dataset_is_not_sold_further() public {
        uint256 open = lockAs(bob, offerId, B);
        uint64 dataset = sale.offers(offerId).dataset;
        vm.prank(alice);
        registry.revoke(dataset);
        (bytes32 x, bytes32 y) = point(B);
        vm.expectRevert(KeySaleTypes.DatasetNotActive.selector);
        vm.prank(carol);
        sale.lock(offerId, PRICE, x, y);
        vm.prank(bob);
        sale.confirm(open); // what was bought before runs to its end
    }

    /// More open sales than desks, finished in any order: each keeps its own commitment.
    function testFuzz_desks_keep_sales_apart(uint256 seed) public {
        uint256 wide = offerOf(alice, 1e18, 100e18);
        uint256[] memory ids = new uint256[](40);
        uint256[] memory secrets = new uint256[](40);
        for (uint256 i; i < 40; ++i) {
            secrets[i] = 1000 + i;
            ids[i] = lockAs(bob, wide, secrets[i]);
            seed = uint256(keccak256(abi.encode(seed)));
            if (seed % 2 == 0) {
                uint256 j = seed % (i + 1);
                if (state(ids[j]) != KeySaleTypes.State.Locked) continue;
                vm.prank(bob);
                sale.confirm(ids[j]);
            }
        }
        for (uint256 i; i < 40; ++i) {
            KeySaleTypes.Sale memory s = sale.sales(ids[i]);
            bool open = s.state == KeySaleTypes.State.Locked;
            assertEq(s.commitment, open ? bytes32(uint256(uint160(vm.addr(secrets[i])))) : bytes32(0));
            if (open) {
                vm.prank(bob);
                sale.confirm(ids[i]);
            }
        }
        assertEq(sale.offers(wide).open, 0);
        assertEq(sale.offers(wide).uncollected, 40);
    }

    // ------------------------------------------------------------------------------------------------ the honest ways

    function test_private_delivery_confirm_pays_the_seller_and_burns_the_fee() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.prank(bob);
        sale.confirm(id);
        uint256 fee = sale.feeOf(PRICE);
        assertEq(fee, 0.25e18);
        uint256 share = sale.heldShare(PRICE);
        assertEq(share, 2e18);
        assertEq(sale.earned(offerId), PRICE - fee - share);
        assertEq(sale.held(offerId), share);
        assertEq(sale.owedFor(offerId), BOND + PRICE);
        uint256 before = token.balanceOf(alice);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offerId)), PRICE - fee - share);
        assertEq(token.balanceOf(alice) - before, PRICE - fee - share);
        assertEq(sale.owedFor(offerId), BOND + share);
        vm.warp(block.timestamp + 2 * FEEDBACK);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offerId)), share);
        uint256 supply = token.totalSupply();
        sale.burnFees();
        assertEq(supply - token.totalSupply(), fee);
        assertEq(sale.feesBurnt(), fee);
        assertEq(token.balanceOf(address(sale)), BOND);
    }

    function test_confirm_refusals() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.expectRevert(KeySaleTypes.NotBuyer.selector);
        vm.prank(carol);
        sale.confirm(id);
        vm.startPrank(bob);
        sale.confirm(id);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.confirm(id);
        vm.stopPrank();
        vm.warp(block.timestamp + 1 days);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.refund(id);
    }

    function test_silent_buyer_seller_delivers_on_chain_and_claims() public {
        uint256 id = lockAs(bob, offerId, B);
        Masked memory m = mask(CK, B, E, id);
        deliverAs(alice, id, m);
        vm.expectRevert(KeySaleTypes.TooEarly.selector);
        sale.claim(id);
        vm.warp(block.timestamp + DISPUTE + 1);
        vm.prank(dave);
        sale.claim(id);
        assertEq(uint8(state(id)), uint8(KeySaleTypes.State.Paid));
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.claim(id);
    }

    function test_deliver_refusals() public {
        uint256 id = lockAs(bob, offerId, B);
        Masked memory m = mask(CK, B, E, id);
        vm.expectRevert(KeySaleTypes.NotSeller.selector);
        vm.prank(bob);
        sale.deliver(id, m.ex, m.parity, m.c);
        vm.startPrank(alice);
        vm.expectRevert(KeySaleTypes.BadDelivery.selector);
        sale.deliver(id, m.ex, 2, m.c);
        sale.deliver(id, m.ex, m.parity, m.c);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.deliver(id, m.ex, m.parity, m.c);
        vm.stopPrank();
        id = lockAs(bob, offerId, B);
        vm.warp(block.timestamp + DELIVER + 1);
        vm.expectRevert(KeySaleTypes.TooLate.selector);
        vm.prank(alice);
        sale.deliver(id, m.ex, m.parity, m.c);
    }

    function test_at_the_deadline_exactly_one_of_deliver_and_refund_works() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.warp(block.timestamp + DELIVER);
        vm.expectRevert(KeySaleTypes.TooEarly.selector);
        sale.refund(id);
        Masked memory m = mask(CK, B, E, id);
        deliverAs(alice, id, m);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.refund(id);
    }

    function test_refund_when_the_key_never_came() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.warp(block.timestamp + DELIVER + 1);
        vm.prank(dave);
        sale.refund(id);
        assertEq(sale.credit(bob), PRICE);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.refund(id);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        vm.prank(bob);
        sale.confirm(id);
        vm.prank(bob);
        assertEq(sale.withdraw(), PRICE);
        vm.prank(bob);
        assertEq(sale.withdraw(), 0);
    }

    function signConfirm(uint256 key, uint256 id) internal view returns (KeySaleTypes.Signature memory) {
        bytes32 h = keccak256(abi.encode(sale.CONFIRM_TYPEHASH(), id));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked("\x19\x01", sale.domainSeparator(), h)));
        return KeySaleTypes.Signature(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function test_signed_confirmations_in_a_batch_skip_the_bad_ones() public {
        uint256[] memory ids = new uint256[](5);
        KeySaleTypes.Signature[] memory sigs = new KeySaleTypes.Signature[](5);
        ids[0] = lockAs(bob, offerId, B);
        sigs[0] = signConfirm(bobKey, ids[0]);
        ids[1] = lockAs(carol, offerId, B);
        sigs[1] = signConfirm(bobKey, ids[1]); // not the buyer
        ids[2] = ids[0]; // twice
        sigs[2] = sigs[0];
        ids[3] = lockAs(carol, offerId, B);
        sigs[3] = signConfirm(carolKey, ids[1]); // of another sale
        ids[4] = (offerId + 7) << 64 | 1; // no such sale
        sigs[4] = KeySaleTypes.Signature(0, 0);
        vm.prank(alice);
        assertEq(sale.confirmMany(ids, sigs), 1);
        assertEq(uint8(state(ids[0])), uint8(KeySaleTypes.State.Paid));
        assertEq(uint8(state(ids[1])), uint8(KeySaleTypes.State.Locked));
        assertEq(uint8(state(ids[3])), uint8(KeySaleTypes.State.Locked));
        vm.expectRevert(KeySaleTypes.LengthMismatch.selector);
        sale.confirmMany(ids, new KeySaleTypes.Signature[](4));
    }

    function testFuzz_forged_confirmations_do_nothing(bytes32 r, bytes32 vs) public {
        uint256[] memory ids = asArray(lockAs(bob, offerId, B));
        KeySaleTypes.Signature[] memory sigs = new KeySaleTypes.Signature[](1);
        sigs[0] = KeySaleTypes.Signature(r, vs);
        assertEq(sale.confirmMany(ids, sigs), 0);
    }

    function test_a_confirmation_of_another_chain_or_with_high_s_does_nothing() public {
        uint256[] memory ids = asArray(lockAs(bob, offerId, B));
        KeySaleTypes.Signature[] memory sigs = new KeySaleTypes.Signature[](1);
        sigs[0] = signConfirm(bobKey, ids[0]);
        vm.chainId(999);
        assertEq(sale.confirmMany(ids, sigs), 0);
        vm.chainId(31337);
        bytes32 good = sigs[0].vs;
        uint256 s = uint256(good) & uint256(type(int256).max);
        sigs[0].vs = bytes32((N - s) | (uint256(good) >> 255 == 0 ? 1 << 255 : 0));
        assertEq(sale.confirmMany(ids, sigs), 0);
        sigs[0].vs = good;
        assertEq(sale.confirmMany(ids, sigs), 1);
    }

    // ------------------------------------------------------------------------------------------------ key disputes

    function disputeKey(uint256 id, uint256 b, Masked memory m, Payload memory p, uint32 i) internal {
        disputeAt(id, b, m, p, i, i);
    }

    function sell(Payload memory p) internal returns (uint256 offer_, uint256 id) {
        uint64 dataset = register(alice, p.root, p.cells);
        vm.prank(alice);
        offer_ = sale.offer(dataset, PRICE, BOND);
        id = lockAs(bob, offer_, B);
    }

    function test_a_wrong_key_costs_the_seller_his_bond() public {
        Payload memory p = sealPayload(CK, 7, 99, 99);
        (uint256 offer_, uint256 id) = sell(p);
        uint256 other = lockAs(carol, offer_, B + 1);
        Masked memory m = mask(keccak256("wrong"), B, E, id);
        deliverAs(alice, id, m);
        vm.prank(dave); // anybody may bring it; the reward is the buyer's
        disputeKey(id, B, m, p, 6);
        assertEq(uint8(state(id)), uint8(KeySaleTypes.State.Refunded));
        assertEq(sale.credit(bob), PRICE + BOND / 2);
        assertEq(sale.credit(dave), 0);
        assertEq(sale.penaltiesDue(), BOND / 2);
        assertEq(uint8(sale.offers(offer_).status), uint8(KeySaleTypes.Status.Bad));
        sale.refund(other); // at once: the offer is void
        assertEq(sale.credit(carol), PRICE);
        vm.startPrank(alice);
        vm.expectRevert(KeySaleTypes.OfferIsBad.selector);
        sale.takeBond(offer_);
        vm.expectRevert(KeySaleTypes.OfferNotOpen.selector);
        sale.close(offer_);
        vm.stopPrank();
        sale.burnFees();
        assertEq(sale.feesBurnt(), 0); // a penalty is no fee: it buys no reward budget
        vm.prank(bob);
        sale.withdraw();
        vm.prank(carol);
        sale.withdraw();
        assertEq(token.balanceOf(address(sale)), BOND); // the first offer's, nothing left of the second
    }

    function testFuzz_an_honest_seller_cannot_be_disputed(uint256 b, uint256 e, uint8 cells, uint8 cell) public {
        b = bound(b, 1, N - 1);
        uint32 n = uint32(bound(cells, 1, 9));
        uint32 i = uint32(bound(cell, 0, n - 1));
        Payload memory p = sealPayload(CK, n, 99, 99);
        uint64 dataset = register(alice, p.root, p.cells);
        vm.prank(alice);
        uint256 id = lockAs(bob, sale.offer(dataset, PRICE, BOND), b);
        Masked memory m = mask(CK, b, bound(e, 1, N - 1), id);
        deliverAs(alice, id, m);
        refusal = KeySaleTypes.NoFault.selector;
        disputeKey(id, b, m, p, i);
        (, bytes32[] memory path) = merkle(p.leaves, i);
        vm.expectRevert(KeySaleTypes.NoFault.selector);
        vm.prank(bob);
        sale.disputeCell(id, i, p.keys[i], p.ptHashes[i], p.ciphertexts[i], path);
    }

    /// The next dispute is expected to be refused. Not vm.expectRevert at once: sha256 is a call too, and would spend it.
    bytes4 internal refusal;

    /// The leaf of cell `leaf`, claimed to stand at `i`.
    function disputeAt(uint256 id, uint256 b, Masked memory m, Payload memory p, uint32 leaf, uint32 i) internal {
        (, bytes32[] memory path) = merkle(p.leaves, leaf);
        if (refusal != 0) vm.expectRevert(refusal);
        refusal = 0;
        sale.disputeKey(id, b, m.ex, m.parity, m.c, i, p.ctHashes[leaf], p.ptHashes[leaf], p.keyHashes[leaf], path);
    }

    function test_key_dispute_refusals() public {
        Payload memory p = sealPayload(CK, 5, 99, 99);
        (, uint256 id) = sell(p);
        Masked memory m = mask(keccak256("wrong"), B, E, id);
        refusal = KeySaleTypes.WrongState.selector; // not delivered on chain
        disputeKey(id, B, m, p, 2);
        deliverAs(alice, id, m);
        refusal = KeySaleTypes.WrongKey.selector; // not the buyer's one-time key
        disputeKey(id, B + 1, m, p, 2);
        refusal = KeySaleTypes.WrongKey.selector; // congruent, but not a scalar
        disputeKey(id, B + N, m, p, 2);
        refusal = KeySaleTypes.WrongKey.selector;
        disputeKey(id, 0, m, p, 2);
        refusal = KeySaleTypes.WrongKey.selector; // not what was delivered
        disputeKey(id, B, Masked(m.ex, m.parity, ~m.c), p, 2);
        refusal = KeySaleTypes.NotInTree.selector; // the leaf of another cell
        disputeAt(id, B, m, p, 2, 3);
        refusal = KeySaleTypes.NotInTree.selector;
        disputeAt(id, B, m, p, 4, 0);
        refusal = KeySaleTypes.NotInTree.selector; // beyond the tree
        disputeAt(id, B, m, p, 2, 5);
        bytes32 right = p.ptHashes[2];
        p.ptHashes[2] = ~right;
        refusal = KeySaleTypes.NotInTree.selector; // hashes that were not committed
        disputeKey(id, B, m, p, 2);
        p.ptHashes[2] = right;
        vm.warp(block.timestamp + DISPUTE + 1);
        refusal = KeySaleTypes.TooLate.selector;
        disputeKey(id, B, m, p, 2);
        sale.claim(id);
    }

    /// A leaf at a position of his choice would let a buyer frame an honest seller: the key of another cell never fits.
    function test_a_leaf_counts_at_its_own_position_only() public {
        for (uint32 cells = 1; cells < 6; ++cells) {
            Payload memory p = sealPayload(CK, cells, 99, 99);
            (, uint256 id) = sell(p);
            Masked memory m = mask(CK, B, E, id);
            deliverAs(alice, id, m);
            for (uint32 leaf; leaf < cells; ++leaf) {
                for (uint32 i; i < 3 * cells + 2; ++i) {
                    refusal = i == leaf ? KeySaleTypes.NoFault.selector : KeySaleTypes.NotInTree.selector;
                    disputeAt(id, B, m, p, leaf, i);
                }
            }
        }
    }

    function test_a_path_of_another_length_is_refused() public {
        Payload memory p = sealPayload(CK, 4, 99, 99);
        (, uint256 id) = sell(p);
        Masked memory m = mask(keccak256("wrong"), B, E, id);
        deliverAs(alice, id, m);
        for (uint256 length; length < 4; ++length) {
            if (length == 2) continue;
            (, bytes32[] memory path) = merkle(p.leaves, 1);
            bytes32[] memory other = new bytes32[](length);
            for (uint256 j; j < length && j < 2; ++j) other[j] = path[j];
            vm.expectRevert(KeySaleTypes.NotInTree.selector);
            sale.disputeKey(id, B, m.ex, m.parity, m.c, 1, p.ctHashes[1], p.ptHashes[1], p.keyHashes[1], other);
        }
    }

    function test_a_point_off_the_curve_is_the_sellers_fault() public {
        Payload memory p = sealPayload(CK, 3, 99, 99);
        (, uint256 id) = sell(p);
        bytes32[] memory none;
        deliverAs(alice, id, Masked(bytes32(uint256(5)), 0, 0)); // 5^3 + 7 is no square
        sale.disputeKey(id, B, bytes32(uint256(5)), 0, 0, 0, 0, 0, 0, none);
        assertEq(sale.credit(bob), PRICE + BOND / 2);
        (, id) = sell(p);
        deliverAs(alice, id, Masked(bytes32(N), 1, 0)); // no x coordinate that ecrecover knows
        sale.disputeKey(id, B, bytes32(N), 1, 0, 0, 0, 0, 0, none);
        assertEq(sale.credit(bob), 2 * (PRICE + BOND / 2));
    }

    function test_a_tree_whose_keys_do_not_follow_from_the_content_key_is_caught() public {
        Payload memory p = sealPayload(CK, 6, 99, 4);
        (, uint256 id) = sell(p);
        Masked memory m = mask(CK, B, E, id);
        deliverAs(alice, id, m);
        disputeKey(id, B, m, p, 4);
        assertEq(uint8(state(id)), uint8(KeySaleTypes.State.Refunded));
    }

    // ------------------------------------------------------------------------------------------------ cell disputes

    function test_a_junk_cell_is_proved_by_opening_it_alone() public {
        Payload memory p = sealPayload(CK, 7, 3, 99);
        (uint256 offer_, uint256 id) = sell(p);
        (, bytes32[] memory path) = merkle(p.leaves, 3);
        vm.expectRevert(KeySaleTypes.NotBuyer.selector);
        vm.prank(dave);
        sale.disputeCell(id, 3, p.keys[3], p.ptHashes[3], p.ciphertexts[3], path);
        vm.startPrank(bob);
        vm.expectRevert(KeySaleTypes.NotInTree.selector); // a key of his own choice
        sale.disputeCell(id, 3, keccak256("k"), p.ptHashes[3], p.ciphertexts[3], path);
        vm.expectRevert(KeySaleTypes.NotInTree.selector);
        sale.disputeCell(id, 2, p.keys[3], p.ptHashes[3], p.ciphertexts[3], path);
        sale.disputeCell(id, 3, p.keys[3], p.ptHashes[3], p.ciphertexts[3], path);
        vm.expectRevert(KeySaleTypes.WrongState.selector); // refunded: no buyer any more
        sale.disputeCell(id, 3, p.keys[3], p.ptHashes[3], p.ciphertexts[3], path);
        vm.stopPrank();
        assertEq(sale.credit(bob), PRICE + BOND / 2);
        assertEq(sale.offers(offer_).bond, 0);
    }

    function test_a_buyer_who_has_paid_still_gets_the_bond_for_a_junk_cell_once() public {
        Payload memory p = sealPayload(CK, 4, 1, 99);
        (uint256 offer_, uint256 id) = sell(p);
        uint256 other = lockAs(carol, offer_, B + 1);
        (, bytes32[] memory path) = merkle(p.leaves, 1);
        vm.startPrank(bob);
        sale.confirm(id);
        sale.disputeCell(id, 1, p.keys[1], p.ptHashes[1], p.ciphertexts[1], path);
        vm.stopPrank();
        assertEq(sale.credit(bob), BOND / 2);
        vm.expectRevert(KeySaleTypes.OfferIsBad.selector);
        vm.prank(carol);
        sale.disputeCell(other, 1, p.keys[1], p.ptHashes[1], p.ciphertexts[1], path);
        Masked memory m = mask(CK, B + 1, E, other);
        deliverAs(alice, other, m);
        vm.warp(block.timestamp + DISPUTE + 1);
        vm.expectRevert(KeySaleTypes.OfferIsBad.selector);
        sale.claim(other);
        sale.refund(other);
        assertEq(sale.credit(carol), PRICE);
        assertEq(sale.earned(offer_), atOnce(PRICE)); // Paid is final, but for the share held back
    }

    // ------------------------------------------------------------------------------------------------ holdback

    /// An offer of four cells whose cell 1 is junk, and bob's open sale of it.
    function sellJunk() internal returns (uint256 offer_, uint256 id) {
        Payload memory p = sealPayload(CK, 4, 1, 99);
        if (!sale.entryPaused()) return sell(p);
        vm.prank(guardian);
        sale.setEntryPaused(false);
        (offer_, id) = sell(p);
        vm.prank(guardian);
        sale.setEntryPaused(true);
    }

    function disputeJunk(uint256 id) internal {
        Payload memory p = sealPayload(CK, 4, 1, 99);
        (, bytes32[] memory path) = merkle(p.leaves, 1);
        address buyer = sale.sales(id).buyer;
        vm.prank(buyer);
        sale.disputeCell(id, 1, p.keys[1], p.ptHashes[1], p.ciphertexts[1], path);
    }

    function confirmed(address buyer, uint256 offer_, uint256 secret) internal returns (uint256 id) {
        id = lockAs(buyer, offer_, secret);
        vm.prank(buyer);
        sale.confirm(id);
    }

    /// The first second of the bucket that is `later` buckets after this one.
    function startOfBucket(uint256 later) internal view returns (uint256) {
        return (block.timestamp / FEEDBACK + later) * FEEDBACK;
    }

    function test_a_share_ripens_at_the_start_of_the_bucket_after_the_next() public {
        vm.warp(startOfBucket(1));
        uint256 share = sale.heldShare(PRICE);
        confirmed(bob, offerId, B); // on a bucket's first second: held for two whole windows
        vm.warp(block.timestamp + FEEDBACK - 1);
        confirmed(bob, offerId, B); // on its last second: for one window and a second
        assertEq(sale.held(offerId), 2 * share);
        vm.warp(block.timestamp + FEEDBACK);
        assertEq(sale.held(offerId), 2 * share);
        assertEq(sale.earned(offerId), 2 * atOnce(PRICE));
        vm.warp(block.timestamp + 1);
        assertEq(sale.held(offerId), 0);
        assertEq(sale.earned(offerId), 2 * (atOnce(PRICE) + share));
        confirmed(bob, offerId, B);
        assertEq(sale.held(offerId), share);
        assertEq(sale.earned(offerId), 3 * atOnce(PRICE) + 2 * share);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offerId)), 3 * atOnce(PRICE) + 2 * share);
        assertEq(sale.owedFor(offerId), BOND + share);
        vm.warp(startOfBucket(1)); // paid one bucket before
        assertEq(sale.held(offerId), share);
        confirmed(bob, offerId, B);
        assertEq(sale.held(offerId), 2 * share);
        vm.warp(startOfBucket(1)); // the older one is ripe, the newer is not
        assertEq(sale.held(offerId), share);
        assertEq(sale.earned(offerId), atOnce(PRICE) + share);
    }

    function test_the_time_of_payment_stands_in_the_sale() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.warp(block.timestamp + 7);
        vm.prank(bob);
        sale.confirm(id);
        assertEq(sale.sales(id).deadline, block.timestamp);
        assertEq(sale.sellerOf(offerId), alice);
    }

    function test_buyers_of_a_bad_offer_take_back_what_was_not_ripe() public {
        (uint256 offer_, uint256 early) = sellJunk();
        uint256 share = sale.heldShare(PRICE);
        vm.warp(startOfBucket(1));
        vm.prank(bob);
        sale.confirm(early);
        vm.warp(startOfBucket(1));
        uint256 before = confirmed(carol, offer_, B + 1); // one bucket before the dispute
        vm.warp(startOfBucket(1));
        uint256 same = confirmed(bob, offer_, B + 2);
        uint256 open = lockAs(carol, offer_, B + 3);
        vm.expectRevert(KeySaleTypes.OfferIsNotBad.selector);
        vm.prank(bob);
        sale.reclaim(same);
        assertEq(sale.held(offer_), 2 * share);
        disputeJunk(same);
        assertEq(sale.held(offer_), 0); // nothing of it is the seller's any more
        assertEq(sale.earned(offer_), 3 * atOnce(PRICE) + share);
        vm.warp(block.timestamp + 10 * FEEDBACK); // it never ripens
        assertEq(sale.earned(offer_), 3 * atOnce(PRICE) + share);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offer_)), 3 * atOnce(PRICE) + share);
        assertEq(sale.owedFor(offer_), PRICE + 2 * share);
        vm.startPrank(bob);
        vm.expectRevert(KeySaleTypes.AlreadyRipe.selector);
        sale.reclaim(early);
        vm.expectRevert(KeySaleTypes.NotBuyer.selector);
        sale.reclaim(before);
        uint256 credit = sale.credit(bob);
        vm.expectEmit(address(sale));
        emit KeySaleTypes.Reclaimed(same, bob, share);
        assertEq(sale.reclaim(same), share);
        assertEq(sale.credit(bob) - credit, share);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.reclaim(same);
        vm.stopPrank();
        vm.startPrank(carol);
        assertEq(sale.reclaim(before), share);
        vm.expectRevert(KeySaleTypes.WrongState.selector); // not paid
        sale.reclaim(open);
        sale.refund(open);
        vm.expectRevert(KeySaleTypes.WrongState.selector); // refunded
        sale.reclaim(open);
        vm.stopPrank();
        assertEq(uint8(state(same)), uint8(KeySaleTypes.State.Reclaimed));
        assertEq(sale.owedFor(offer_), 0);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offer_)), 0);
    }

    /// A reclaimed sale is over: no second dispute, no confirmation, no refund.
    function test_reclaimed_is_final() public {
        (, uint256 id) = sellJunk();
        vm.prank(bob);
        sale.confirm(id);
        disputeJunk(id);
        vm.startPrank(bob);
        sale.reclaim(id);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.confirm(id);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.refund(id);
        vm.expectRevert(KeySaleTypes.WrongState.selector);
        sale.claim(id);
        vm.stopPrank();
        assertEq(sale.confirmMany(asArray(id), signatures(signConfirm(bobKey, id))), 0);
    }

    function signatures(KeySaleTypes.Signature memory one_) internal pure returns (KeySaleTypes.Signature[] memory list) {
        list = new KeySaleTypes.Signature[](1);
        list[0] = one_;
    }

    /// Somebody content with what he has may still pay for it; the share is his to take back, whenever that was.
    function test_a_sale_paid_after_the_fault_was_proved_can_be_reclaimed() public {
        (uint256 offer_, uint256 id) = sellJunk();
        uint256 late = lockAs(carol, offer_, B + 1);
        disputeJunk(id);
        vm.warp(block.timestamp + 5 * FEEDBACK);
        vm.startPrank(carol);
        sale.confirm(late);
        vm.warp(block.timestamp + 5 * FEEDBACK);
        assertEq(sale.earned(offer_), atOnce(PRICE));
        assertEq(sale.reclaim(late), sale.heldShare(PRICE));
        vm.stopPrank();
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(offer_)), atOnce(PRICE));
        assertEq(sale.owedFor(offer_), 0);
    }

    function test_a_wrong_key_freezes_what_others_paid() public {
        Payload memory p = sealPayload(CK, 4, 99, 99);
        (uint256 offer_, uint256 id) = sell(p);
        uint256 paid = confirmed(carol, offer_, B + 1);
        Masked memory m = mask(keccak256("wrong"), B, E, id);
        deliverAs(alice, id, m);
        disputeKey(id, B, m, p, 2);
        vm.prank(carol);
        assertEq(sale.reclaim(paid), sale.heldShare(PRICE));
        assertEq(sale.earned(offer_), atOnce(PRICE));
    }

    /// After the bond has left a dispute wins no money, but still keeps what is held from the seller.
    function test_a_dispute_after_the_bond_has_left_keeps_what_is_held() public {
        (uint256 offer_, uint256 id) = sellJunk();
        vm.prank(alice);
        sale.close(offer_);
        vm.warp(block.timestamp + FEEDBACK + 1);
        vm.prank(bob);
        sale.confirm(id);
        vm.prank(alice);
        sale.takeBond(offer_);
        disputeJunk(id);
        assertEq(sale.credit(bob), 0);
        vm.prank(bob);
        assertEq(sale.reclaim(id), sale.heldShare(PRICE));
        assertEq(sale.penaltiesDue(), 0);
    }

    function test_without_holdback_all_is_the_sellers_at_once() public {
        sale = newSale(0, FEEDBACK);
        fund(alice);
        fund(bob);
        (uint256 offer_, uint256 id) = sellJunk();
        vm.prank(bob);
        sale.confirm(id);
        assertEq(sale.held(offer_), 0);
        assertEq(sale.earned(offer_), PRICE - sale.feeOf(PRICE));
        disputeJunk(id);
        assertEq(sale.earned(offer_), PRICE - sale.feeOf(PRICE));
        vm.prank(bob);
        assertEq(sale.reclaim(id), 0);
    }

    /// The contract's two generations against a list of payments: any prices, shares, times, collections and a fault at any time.
    function testFuzz_shares_ripen_as_a_list_of_payments_says(uint256 seed, uint16 bps, uint8 count, bool fault) public {
        bps = uint16(bound(bps, 0, 5_000));
        sale = newSale(bps, FEEDBACK);
        fund(alice);
        fund(bob);
        uint256 n = bound(count, 1, 12);
        (uint256 offer_, uint256 id) = sellJunk();
        uint256[] memory ids = new uint256[](n);
        uint256[] memory paidAt = new uint256[](n);
        uint256 out;
        for (uint256 i; i < n; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(block.timestamp + seed % (2 * FEEDBACK + FEEDBACK / 2));
            ids[i] = confirmed(bob, offer_, B);
            paidAt[i] = block.timestamp / FEEDBACK;
            if (seed >> 128 & 1 == 1) {
                vm.prank(alice);
                out += sale.collectAndWithdraw(asArray(offer_));
            }
        }
        vm.warp(block.timestamp + (seed >> 64) % (3 * FEEDBACK));
        uint256 bucket = block.timestamp / FEEDBACK;
        uint256 ripe;
        for (uint256 i; i < n; ++i) if (paidAt[i] + 2 <= bucket) ++ripe;
        uint256 share = sale.heldShare(PRICE);
        assertEq(share, uint256(PRICE) * bps / 10_000);
        assertEq(out + sale.earned(offer_), n * atOnce(PRICE) + ripe * share);
        assertEq(sale.held(offer_), (n - ripe) * share);
        if (fault) {
            disputeJunk(id);
            vm.warp(block.timestamp + FEEDBACK);
            uint256 back;
            for (uint256 i; i < n; ++i) {
                vm.prank(bob);
                if (paidAt[i] + 2 <= bucket) vm.expectRevert(KeySaleTypes.AlreadyRipe.selector);
                back += sale.reclaim(ids[i]);
            }
            assertEq(back, (n - ripe) * share);
            assertEq(out + sale.earned(offer_), n * atOnce(PRICE) + ripe * share);
        }
        vm.prank(alice);
        sale.collectAndWithdraw(asArray(offer_));
        KeySaleTypes.Offer memory o = sale.offers(offer_);
        assertEq(sale.owedFor(offer_), fault ? 0 : sale.held(offer_) + o.bond + PRICE * uint256(o.open));
    }

    // ------------------------------------------------------------------------------------------------ bond

    function test_bond_waits_for_open_sales_and_the_dispute_window() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.expectRevert(KeySaleTypes.NotSeller.selector);
        sale.close(offerId);
        vm.startPrank(alice);
        vm.expectRevert(KeySaleTypes.TooEarly.selector);
        sale.takeBond(offerId);
        sale.close(offerId);
        vm.expectRevert(KeySaleTypes.OfferNotOpen.selector);
        sale.close(offerId);
        vm.warp(block.timestamp + FEEDBACK); // the longer of the two windows
        vm.expectRevert(KeySaleTypes.TooEarly.selector);
        sale.takeBond(offerId);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(KeySaleTypes.SalesStillOpen.selector);
        sale.takeBond(offerId);
        sale.refund(id);
        vm.stopPrank();
        vm.expectRevert(KeySaleTypes.NotSeller.selector);
        vm.prank(bob);
        sale.takeBond(offerId);
        vm.startPrank(alice);
        sale.takeBond(offerId);
        vm.expectRevert(KeySaleTypes.NoBond.selector);
        sale.takeBond(offerId);
        assertEq(sale.credit(alice), BOND);
    }

    /// The time of closing shares a word with what is held: a payment in a later bucket must leave it alone.
    function test_a_payment_after_closing_does_not_free_the_bond() public {
        vm.warp(startOfBucket(1) - 10);
        uint256 id = lockAs(bob, offerId, B);
        vm.prank(alice);
        sale.close(offerId);
        uint256 at = block.timestamp;
        vm.warp(at + 20);
        vm.prank(bob);
        sale.confirm(id);
        sale.collect(asArray(offerId));
        assertEq(sale.offers(offerId).closedAt, at);
        vm.expectRevert(KeySaleTypes.TooEarly.selector);
        vm.prank(alice);
        sale.takeBond(offerId);
    }

    // ------------------------------------------------------------------------------------------------ money out

    function test_collect_by_anyone_pays_only_the_seller() public {
        uint256 id = lockAs(bob, offerId, B);
        vm.prank(bob);
        sale.confirm(id);
        vm.startPrank(dave);
        assertEq(sale.collectAndWithdraw(asArray(offerId)), 0);
        vm.stopPrank();
        assertEq(token.balanceOf(dave), 0);
        assertEq(sale.credit(alice), atOnce(PRICE));
        sale.collect(asArray(offerId)); // nothing twice
        assertEq(sale.credit(alice), atOnce(PRICE));
        vm.warp(block.timestamp + 2 * FEEDBACK);
        vm.startPrank(dave);
        sale.collect(asArray(offerId));
        assertEq(sale.collectAndWithdraw(asArray(offerId)), 0);
        vm.stopPrank();
        assertEq(sale.credit(alice), PRICE - sale.feeOf(PRICE));
    }

    function testFuzz_price_splits_into_earning_and_fee(uint96 price) public {
        price = uint96(bound(price, 1, 1e23));
        uint256 id = offerOf(alice, price, uint96(price > MIN_BOND ? price : MIN_BOND));
        uint256 s = lockAs(bob, id, B);
        vm.prank(bob);
        sale.confirm(s);
        uint256 held = token.balanceOf(address(sale));
        uint256 earned = sale.earned(id);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(id)), earned);
        uint256 fee = sale.feesDue();
        uint256 share = sale.held(id);
        assertEq(earned + fee + share, price);
        assertLe(share * 10_000, uint256(price) * HOLDBACK_BPS); // never more than the rate
        assertGt(share * 10_000 + 10_000, uint256(price) * HOLDBACK_BPS);
        vm.warp(block.timestamp + 2 * FEEDBACK);
        vm.prank(alice);
        assertEq(sale.collectAndWithdraw(asArray(id)), share);
        assertGe(fee * 10_000, uint256(price) * FEE_BPS); // never less than the rate
        assertLt(fee * 10_000, uint256(price) * FEE_BPS + 10_000);
        sale.burnFees();
        assertEq(held - token.balanceOf(address(sale)), price);
    }

    /// ecrecover multiplies: b(eG) == e(bG) == (be)G
    function testFuzz_mul(uint256 b, uint256 e) public {
        b = bound(b, 1, N - 1);
        e = bound(e, 1, N - 1);
        Vm.Wallet memory we = vm.createWallet(e);
        Vm.Wallet memory wb = vm.createWallet(b);
        address s = Curve.mul(bytes32(we.publicKeyX), uint8(we.publicKeyY & 1), b);
        assertEq(s, Curve.mul(bytes32(wb.publicKeyX), uint8(wb.publicKeyY & 1), e));
        assertEq(s, vm.addr(mulmod(b, e, N)));
    }
}
