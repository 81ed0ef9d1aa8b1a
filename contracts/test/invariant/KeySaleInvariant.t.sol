// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {Base} from "../Base.sol";
import {DataRegistry} from "../../src/DataRegistry.sol";
import {KeySale} from "../../src/KeySale.sol";
import {KeySaleTypes} from "../../src/KeySaleTypes.sol";
import {SchwungToken} from "../../src/SchwungToken.sol";

/// Random people doing random things with offers whose cell 0 may be junk and whose keys may be wrong, while the guardian pauses
/// and lets go. Counts what succeeded, and keeps its own record of every sale: when it was paid, when its offer was proved bad,
/// what its seller collected. An exit that is due and refused, and one that is not due and succeeds, is counted in `wrong`.
contract SaleHandler is Test {
    uint256 constant N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    bytes32 constant GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;
    bytes32 constant GY = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8;
    bytes32 constant CK = keccak256("content key");

    KeySale public immutable sale;
    SchwungToken immutable token;
    DataRegistry immutable registry;

    address[4] public people = [address(0x51), address(0x52), address(0x53), address(0x54)];
    uint256[] public ids;
    mapping(uint256 id => uint256) public ends;
    mapping(uint256 id => bytes32) delivered;
    mapping(uint256 id => bytes32) deliveredAt;
    mapping(bytes32 action => uint256) public done;
    mapping(uint256 id => uint256) public reclaims;
    mapping(uint256 id => uint256 bucket) public paidIn;
    mapping(uint256 offerId => uint256 bucket) public badSince;
    mapping(uint256 offerId => uint256) public collected;
    uint256 public slashes;
    uint256 public confirmed;
    uint256 public wrong;
    address immutable guardian;
    uint256 immutable window;

    constructor(KeySale sale_, SchwungToken token_, DataRegistry registry_) {
        sale = sale_;
        token = token_;
        registry = registry_;
        guardian = sale_.guardian();
        window = sale_.feedbackWindow();
    }

    function equip() external {
        for (uint256 i; i < 4; ++i) {
            token.transfer(people[i], 1e26);
            vm.prank(people[i]);
            token.approve(address(sale), type(uint256).max);
        }
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    // One cell: the root is its leaf, the path is empty.
    function leafOf(bool junk) internal pure returns (bytes32 ct, bytes32 pt, bytes32 kh, bytes32 k, bytes memory body) {
        k = sha256(abi.encodePacked(CK, uint32(0)));
        body = hex"00112233445566778899";
        ct = sha256(body);
        bytes memory plain = hex"";
        pt = junk ? bytes32(uint256(1)) : bytes32(0);
        if (!junk) pt = sha256(bytes.concat("p", k, plain));
        kh = sha256(bytes.concat("k", k));
    }

    // -------------------------------------------------------------------------------------------------- actions

    function offer(uint256 who, uint96 price, uint96 bond, bool more) external {
        if (sale.offerCount() > 5 && !more) return; // few offers with many sales each
        price = uint96(bound(price, 1e17, 1e20));
        bond = uint96(bound(bond, price > 1e18 ? price : 1e18, 2e21));
        // every committed plaintext is junk here, so both disputes can win against a wrong key or this cell
        (bytes32 ct, bytes32 pt, bytes32 kh,,) = leafOf(true);
        uint64[] memory none;
        address seller = people[who % 4];
        vm.startPrank(seller);
        uint64 dataset = registry.register(sha256(abi.encode(ct, pt, kh)), 1, 10, "d", "l", 0, 0, none, "");
        bool paused = sale.entryPaused();
        try sale.offer(dataset, price, bond) {
            if (paused) ++wrong;
            ++done["offer"];
        } catch {
            if (!paused) ++wrong;
        }
        vm.stopPrank();
    }

    function pause(uint256 rare) external {
        bool paused = rare % 3 == 0;
        vm.prank(guardian);
        sale.setEntryPaused(paused);
        if (paused) ++done["pause"];
    }

    function lock(uint256 who, uint256 which) external {
        uint256 n = sale.offerCount();
        if (n == 0) return;
        uint256 offerId = 1 + which % n;
        for (uint256 i; i < n && !lockable(offerId); ++i) offerId = 1 + (which % n + i) % n;
        vm.prank(people[who % 4]);
        try sale.lock(offerId, type(uint96).max, GX, GY) returns (uint256 id) {
            ids.push(id);
            ++done["lock"];
        } catch {}
    }

    function deliver(uint256 which, bool good) external {
        uint256 id = pickLive(which);
        if (id == 0) return;
        address seller = sale.offers(id >> 64).seller;
        // the shared point of b = 1 and e = 1 is G
        bytes32 c = (good ? CK : bytes32(uint256(9))) ^ keccak256(abi.encode(vm.addr(1), id));
        vm.prank(seller);
        try sale.deliver(id, GX, 0, c) {
            delivered[id] = c;
            ++done["deliver"];
        } catch {}
    }

    function confirm(uint256 which) external {
        uint256 id = pickLive(which);
        if (id == 0) return;
        address buyer = sale.sales(id).buyer;
        vm.prank(buyer);
        try sale.confirm(id) {
            check(ends[id] == 0);
            ended(id);
            ++done["confirm"];
        } catch {
            check(ends[id] != 0);
        }
    }

    function claim(uint256 which, bool late) external {
        uint256 id = pickLive(which);
        if (id == 0) return;
        if (late) vm.warp(block.timestamp + 2 hours + 1);
        KeySaleTypes.Sale memory s = sale.sales(id);
        bool due =
            s.state == KeySaleTypes.State.Delivered && block.timestamp > s.deadline && badSince[id >> 64] == 0;
        try sale.claim(id) {
            check(due);
            ended(id);
            ++done["claim"];
        } catch {
            check(!due);
        }
    }

    function refund(uint256 which, bool late) external {
        uint256 id = pickLive(which);
        if (id == 0) return;
        if (late) vm.warp(block.timestamp + 1 hours + 1);
        KeySaleTypes.Sale memory s = sale.sales(id);
        bool due = s.state == KeySaleTypes.State.Locked && block.timestamp > s.deadline;
        if (ends[id] == 0 && badSince[id >> 64] != 0) due = true;
        try sale.refund(id) {
            check(due);
            ended(id);
            ++done["refund"];
        } catch {
            check(!due);
        }
    }

    function disputeKey(uint256 which) external {
        uint256 id = pickLive(which);
        if (id == 0) return;
        (bytes32 ct, bytes32 pt, bytes32 kh,,) = leafOf(true);
        bytes32[] memory none;
        bool fresh = sale.offers(id >> 64).status != KeySaleTypes.Status.Bad;
        try sale.disputeKey(id, 1, GX, 0, delivered[id], 0, ct, pt, kh, none) {
            ended(id);
            if (fresh) slashed(id);
            ++done["disputeKey"];
        } catch {}
    }

    function disputeCell(uint256 which, uint256 rare) external {
        if (ids.length == 0 || rare % 3 != 0) return; // seldom, or no offer lives long
        uint256 id = ids[which % ids.length];
        (, bytes32 pt,, bytes32 k, bytes memory body) = leafOf(true);
        bytes32[] memory none;
        KeySaleTypes.Sale memory s = sale.sales(id);
        vm.prank(s.buyer);
        try sale.disputeCell(id, 0, k, pt, body, none) {
            if (s.state != KeySaleTypes.State.Paid) ended(id);
            else ++done["disputeCell when paid"];
            slashed(id);
            ++done["disputeCell"];
        } catch {}
    }

    /// Due to the buyer of a paid sale that was not ripe when its offer was proved bad, once.
    function reclaim(uint256 which) external {
        uint256 id = pickUnripeOfBad(which);
        if (id == 0) return;
        KeySaleTypes.Sale memory s = sale.sales(id);
        uint256 bad = badSince[id >> 64];
        bool due = s.state == KeySaleTypes.State.Paid && bad != 0 && reclaims[id] == 0 && paidIn[id] + 2 > bad;
        uint256 before = sale.credit(s.buyer);
        vm.prank(s.buyer);
        try sale.reclaim(id) {
            check(due && sale.credit(s.buyer) - before == sale.heldShare(s.price));
            ++reclaims[id];
            ++done["reclaim"];
        } catch {
            check(!due);
        }
    }

    function closeAndTakeBond(uint256 which, uint256 rare) external {
        uint256 n = sale.offerCount();
        if (n == 0 || rare % 3 != 0) return;
        uint256 id = 1 + which % n;
        address seller = sale.offers(id).seller;
        vm.prank(seller);
        try sale.close(id) {
            ++done["close"];
        } catch {}
        vm.warp(block.timestamp + sale.bondWindow() + 1);
        KeySaleTypes.Offer memory o = sale.offers(id);
        bool due = o.status == KeySaleTypes.Status.Closed && o.open == 0 && o.bond != 0;
        vm.prank(seller);
        try sale.takeBond(id) {
            check(due);
            ++done["takeBond"];
        } catch {
            check(!due);
        }
    }

    function collect(uint256 which) external {
        uint256 n = sale.offerCount();
        if (n == 0) return;
        uint256[] memory offers = new uint256[](1);
        offers[0] = 1 + which % n;
        uint256 earned = sale.earned(offers[0]);
        if (earned != 0) ++done["collect"];
        address seller = sale.sellerOf(offers[0]);
        uint256 before = sale.credit(seller);
        sale.collect(offers);
        check(sale.credit(seller) - before == earned);
        collected[offers[0]] += earned;
    }

    function withdraw(uint256 who) external {
        vm.prank(people[who % 4]);
        if (sale.withdraw() != 0) ++done["withdraw"];
    }

    function burnFees() external {
        if (sale.feesDue() != 0) ++done["burn"];
        sale.burnFees();
    }

    // -------------------------------------------------------------------------------------------------- bookkeeping

    function ended(uint256 id) internal {
        ++ends[id];
        if (sale.sales(id).state != KeySaleTypes.State.Paid) return;
        ++confirmed;
        paidIn[id] = block.timestamp / window;
    }

    function slashed(uint256 id) internal {
        ++slashes;
        badSince[id >> 64] = block.timestamp / window;
    }

    function check(bool right) internal {
        if (!right) ++wrong;
    }

    /// Prefers a sale that can be reclaimed, or nearly every call would be refused.
    function pickUnripeOfBad(uint256 which) internal view returns (uint256) {
        for (uint256 i; i < ids.length; ++i) {
            uint256 id = ids[addmod(which, i, ids.length)];
            uint256 bad = badSince[id >> 64];
            if (bad != 0 && paidIn[id] + 2 > bad && reclaims[id] == 0) return id;
        }
        return ids.length == 0 ? 0 : ids[which % ids.length];
    }

    function lockable(uint256 offerId) internal view returns (bool) {
        KeySaleTypes.Offer memory o = sale.offers(offerId);
        return o.status == KeySaleTypes.Status.Open && o.open < o.maxOpen;
    }

    /// Prefers a sale that has not ended, or nearly every call would be refused.
    function pickLive(uint256 which) internal view returns (uint256) {
        for (uint256 i; i < ids.length; ++i) {
            uint256 id = ids[addmod(which, i, ids.length)];
            if (ends[id] == 0) return id;
        }
        return ids.length == 0 ? 0 : ids[which % ids.length];
    }
}

contract KeySaleInvariant is Base {
    SaleHandler handler;
    string[16] names = [
        "offer", "lock", "deliver", "confirm", "claim", "refund", "disputeKey", "disputeCell", "disputeCell when paid", "reclaim", "close", "takeBond", "collect", "withdraw", "burn", "pause"
    ];

    function setUp() public override {
        super.setUp();
        // windows of the handler's warps
        sale = new KeySale(sale.token(), registry, 1 hours, 2 hours, 1e18, FEE_BPS, guardian, HOLDBACK_BPS, 5 hours);
        handler = new SaleHandler(sale, token, registry);
        vm.prank(admin);
        token.transfer(address(handler), 4e26);
        handler.equip();
        targetContract(address(handler));
        bytes4[] memory s = new bytes4[](16);
        s[0] = SaleHandler.offer.selector;
        s[1] = SaleHandler.lock.selector;
        s[2] = SaleHandler.deliver.selector;
        s[3] = SaleHandler.confirm.selector;
        s[4] = SaleHandler.claim.selector;
        s[5] = SaleHandler.refund.selector;
        s[6] = SaleHandler.disputeKey.selector;
        s[7] = SaleHandler.disputeCell.selector;
        s[8] = SaleHandler.closeAndTakeBond.selector;
        s[9] = SaleHandler.collect.selector;
        s[10] = SaleHandler.withdraw.selector;
        s[11] = SaleHandler.burnFees.selector;
        s[12] = SaleHandler.lock.selector; // twice as often: everything needs a sale
        s[13] = SaleHandler.reclaim.selector;
        s[14] = SaleHandler.pause.selector;
        s[15] = SaleHandler.confirm.selector;
        targetSelector(FuzzSelector(address(handler), s));
    }

    /// One campaign for all of them: each invariant function would run its own.
    function invariant_sales() public view {
        the_contract_holds_what_it_owes();
        open_and_paid_sales_are_counted_right();
        every_sale_ends_at_most_once();
        only_paid_sales_bear_fees();
        sellers_get_what_is_ripe_and_buyers_of_bad_offers_the_rest();
        assertEq(handler.wrong(), 0, "an exit was refused that was due, or the other way round");
    }

    /// No action is vacuous: each can succeed.
    function test_every_action_of_the_handler_succeeds() public {
        for (uint256 i; i < 6; ++i) handler.offer(0, 1e18, 1e20, true);
        for (uint256 i; i < 6; ++i) handler.lock(1, i);
        handler.confirm(0);
        handler.deliver(1, true);
        handler.claim(1, true);
        handler.refund(2, true);
        handler.lock(2, 3);
        handler.deliver(handler.count() - 1, false);
        handler.disputeKey(handler.count() - 1);
        handler.lock(2, 4);
        handler.disputeCell(handler.count() - 1, 0);
        handler.lock(2, 5);
        handler.confirm(handler.count() - 1);
        handler.disputeCell(handler.count() - 1, 0);
        handler.pause(0);
        handler.reclaim(handler.count() - 1);
        handler.collect(0);
        handler.burnFees();
        handler.closeAndTakeBond(0, 0);
        handler.withdraw(1);
        for (uint256 i; i < names.length; ++i) assertGt(handler.done(bytes32(bytes(names[i]))), 0, names[i]);
        invariant_sales();
    }

    /// The tokens held are exactly the open prices, bonds, earnings, credits and what will be burnt.
    function the_contract_holds_what_it_owes() internal view {
        uint256 owed = uint256(sale.feesDue()) + sale.penaltiesDue();
        for (uint256 i; i < 4; ++i) owed += sale.credit(handler.people(i));
        for (uint256 o = 1; o <= sale.offerCount(); ++o) owed += sale.owedFor(o);
        assertEq(token.balanceOf(address(sale)), owed);
    }

    /// Counted sale by sale, not by the contract's counters.
    function open_and_paid_sales_are_counted_right() internal view {
        uint256[] memory open = new uint256[](sale.offerCount() + 1);
        uint256[] memory all = new uint256[](sale.offerCount() + 1);
        for (uint256 i; i < handler.count(); ++i) {
            uint256 id = handler.ids(i);
            KeySaleTypes.State state = sale.sales(id).state;
            ++all[id >> 64];
            if (state == KeySaleTypes.State.Locked || state == KeySaleTypes.State.Delivered) ++open[id >> 64];
        }
        for (uint256 o = 1; o <= sale.offerCount(); ++o) {
            KeySaleTypes.Offer memory offer = sale.offers(o);
            assertEq(offer.open, open[o]);
            assertEq(offer.sold, all[o]);
            assertLe(offer.open, offer.maxOpen);
            if (offer.status == KeySaleTypes.Status.Open) assertGe(offer.bond, uint256(offer.open) * offer.price);
            if (offer.status == KeySaleTypes.Status.Bad) assertEq(offer.bond, 0);
        }
    }

    function every_sale_ends_at_most_once() internal view {
        for (uint256 i; i < handler.count(); ++i) {
            uint256 id = handler.ids(i);
            KeySaleTypes.State state = sale.sales(id).state;
            bool back = state == KeySaleTypes.State.Reclaimed;
            bool over = back || state == KeySaleTypes.State.Paid || state == KeySaleTypes.State.Refunded;
            assertEq(handler.ends(id), over ? 1 : 0);
            assertEq(handler.reclaims(id), back ? 1 : 0);
        }
    }

    /// From the list of sales, not from the contract's two generations.
    function sellers_get_what_is_ripe_and_buyers_of_bad_offers_the_rest() internal view {
        uint256[] memory paid = new uint256[](sale.offerCount() + 1);
        uint256[] memory ripe = new uint256[](sale.offerCount() + 1);
        uint256[] memory back = new uint256[](sale.offerCount() + 1);
        for (uint256 i; i < handler.count(); ++i) {
            uint256 id = handler.ids(i);
            if (handler.paidIn(id) == 0) continue;
            uint256 o = id >> 64;
            uint256 until = handler.badSince(o);
            if (until == 0) until = block.timestamp / sale.feedbackWindow();
            ++paid[o];
            if (handler.paidIn(id) + 2 <= until) ++ripe[o];
            back[o] += handler.reclaims(id);
        }
        for (uint256 o = 1; o <= sale.offerCount(); ++o) {
            uint256 price = sale.offers(o).price;
            uint256 share = sale.heldShare(price);
            uint256 atOnce = price - sale.feeOf(price) - share;
            assertEq(handler.collected(o) + sale.earned(o), paid[o] * atOnce + ripe[o] * share);
            assertEq(sale.held(o), handler.badSince(o) == 0 ? (paid[o] - ripe[o]) * share : 0);
            assertLe(back[o], paid[o] - ripe[o]);
        }
    }

    function only_paid_sales_bear_fees() internal view {
        uint256 uncollected;
        for (uint256 o = 1; o <= sale.offerCount(); ++o) uncollected += sale.offers(o).uncollected;
        assertLe(uncollected, handler.confirmed());
        assertEq(sale.feesBurnt() + sale.feesDue() == 0, handler.confirmed() == uncollected);
    }

    function afterInvariant() public {
        for (uint256 i; i < names.length; ++i) emit log_named_uint(names[i], handler.done(bytes32(bytes(names[i]))));
        // A run in which nothing was sold proves nothing.
        assertGt(handler.done("lock"), 0);
        assertGt(handler.confirmed() + handler.done("refund") + handler.slashes(), 0);
    }
}
