// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "./Base.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {RewardPool} from "../src/RewardPool.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

contract RewardPoolTest is Base {
    uint96 constant PRICE = 100e18;
    uint256 constant FEE = 2.5e18;
    bytes32 constant ITEM = keccak256("feedback");
    bytes32 constant MODEL = keccak256("model");
    uint256 offerId;

    function setUp() public override {
        super.setUp();
        offerId = offerOf(alice, PRICE, 1000e18);
    }

    function bought(address buyer) internal returns (uint256 id) {
        id = lockAs(buyer, offerId, 7);
        vm.prank(buyer);
        sale.confirm(id);
    }

    function rate(address who, uint256 id, uint8 rating) internal returns (uint256) {
        vm.prank(who);
        return rewards.rewardSale(id, rating, ITEM);
    }

    function test_one_rating_of_a_paid_sale_is_rewarded_below_its_fee() public {
        uint256 id = bought(bob);
        uint64 dataset = sale.offers(offerId).dataset;
        uint256 before = oracle.quote(dataset);
        uint256 amount = rate(bob, id, 5);
        assertEq(amount, FEE * ALPHA / 1e6); // beta would allow 2, alpha of all fees allows 1.25
        assertGt(oracle.quote(dataset), before);
        assertEq(rewards.credit(bob), amount);
        uint256 held = token.balanceOf(bob);
        vm.prank(bob);
        assertEq(rewards.withdraw(), amount);
        assertEq(token.balanceOf(bob) - held, amount);
        assertEq(rewards.owed(), 0);
        vm.prank(bob);
        assertEq(rewards.withdraw(), 0);
    }

    function test_beta_limits_one_reward_alpha_all_of_them() public {
        uint256[4] memory ids = [bought(bob), bought(carol), bought(bob), bought(carol)];
        assertEq(rate(bob, ids[0], 5), FEE * BETA / 1e6); // 2 of 10 burnt
        assertEq(rate(carol, ids[1], 4), FEE * BETA / 1e6);
        assertEq(rate(bob, ids[2], 3), 4 * FEE * ALPHA / 1e6 - 2 * FEE * BETA / 1e6); // what alpha leaves
        assertEq(rate(carol, ids[3], 2), 0); // still counted
        assertEq(rewards.rewarded(), 4 * FEE * ALPHA / 1e6);
        assertTrue(rewards.rated(ids[3]));
    }

    function test_sale_refusals() public {
        uint256 open = lockAs(bob, offerId, 7);
        vm.expectRevert(RewardPool.NotPaid.selector);
        vm.prank(bob);
        rewards.rewardSale(open, 5, ITEM);
        uint256 id = bought(bob);
        vm.expectRevert(RewardPool.NotBuyer.selector);
        vm.prank(alice);
        rewards.rewardSale(id, 5, ITEM);
        vm.startPrank(bob);
        vm.expectRevert(RewardPool.BadRating.selector);
        rewards.rewardSale(id, 0, ITEM);
        vm.expectRevert(RewardPool.BadRating.selector);
        rewards.rewardSale(id, 6, ITEM);
        rewards.rewardSale(id, 5, ITEM);
        vm.expectRevert(RewardPool.AlreadyRated.selector);
        rewards.rewardSale(id, 5, ITEM);
        vm.stopPrank();
        vm.warp(block.timestamp + DELIVER + 1);
        sale.refund(open);
        vm.expectRevert(RewardPool.NotPaid.selector);
        vm.prank(bob);
        rewards.rewardSale(open, 5, ITEM);
    }

    function testFuzz_buying_from_oneself_always_loses(uint96 price, uint8 times) public {
        price = uint96(bound(price, 1, 10_000e18));
        uint256 own = offerOf(alice, price, uint96(price > 1e18 ? price : 1e18));
        uint256 n = bound(times, 1, 5);
        uint256 wealth = token.balanceOf(alice);
        for (uint256 i; i < n; ++i) {
            uint256 id = lockAs(alice, own, 7 + i);
            vm.prank(alice);
            sale.confirm(id);
            rate(alice, id, 5);
        }
        vm.startPrank(alice);
        sale.collectAndWithdraw(asArray(own));
        rewards.withdraw();
        vm.stopPrank();
        assertLt(token.balanceOf(alice), wealth);
    }

    // ------------------------------------------------------------------------------------------------ lanes

    function served(uint96 cumulative) internal returns (uint256) {
        VoucherBank.Item memory item = voucher(bobKey, bob, address(models), models.laneOf(MODEL), cumulative);
        return models.settle(MODEL, one(item));
    }

    function model() internal {
        uint64[] memory none;
        vm.prank(alice);
        models.publish(MODEL, "root", 10, 2000, 1, none, "");
        vm.prank(bob);
        bank.deposit(bob, 1000e18);
    }

    function rateLane(address who) internal returns (uint256) {
        vm.prank(who);
        return rewards.rewardLane(MODEL, 4, ITEM);
    }

    function test_a_lane_is_rewarded_for_what_was_newly_settled() public {
        model();
        vm.expectRevert(RewardPool.NothingNewSettled.selector);
        vm.prank(bob);
        rewards.rewardLane(MODEL, 4, ITEM);
        served(100e18);
        vm.expectRevert(RewardPool.NothingNewSettled.selector);
        vm.prank(carol);
        rewards.rewardLane(MODEL, 4, ITEM);
        assertEq(rateLane(bob), FEE * ALPHA / 1e6);
        vm.expectRevert(RewardPool.NothingNewSettled.selector);
        vm.prank(bob);
        rewards.rewardLane(MODEL, 4, ITEM);
        served(300e18);
        assertEq(rateLane(bob), 2 * FEE * ALPHA / 1e6);
        vm.expectRevert(RewardPool.BadRating.selector);
        vm.prank(bob);
        rewards.rewardLane(MODEL, 9, ITEM);
    }

    /// With fees enough from others beta decides: of the new part only, never of the old one again.
    function test_only_the_new_part_of_a_lane_counts() public {
        model();
        vm.prank(carol);
        models.pay(MODEL, 100_000e18);
        served(100e18);
        assertEq(rateLane(bob), FEE * BETA / 1e6);
        served(300e18);
        assertEq(rateLane(bob), 2 * FEE * BETA / 1e6);
    }

    /// A lane has one model: an id that only shares the lane is no ticket.
    function test_a_foreign_id_on_the_same_lane_is_no_second_ticket() public {
        model();
        served(100e18);
        rateLane(bob);
        bytes32 twin = bytes32(uint256(MODEL) ^ (1 << 200));
        vm.expectRevert(RewardPool.NothingNewSettled.selector);
        vm.prank(bob);
        rewards.rewardLane(twin, 4, ITEM);
    }

    // ------------------------------------------------------------------------------------------------ budget

    function test_an_empty_grant_pays_nothing_but_the_rating_counts() public {
        vm.startPrank(admin);
        address pool = vm.computeCreateAddress(admin, vm.getNonce(admin) + 1);
        PriceOracle o = new PriceOracle(registry, pool, admin, TOKEN / 100, 1 days, 250_000);
        RewardPool poor = new RewardPool(IERC20(address(token)), sale, bank, models, o, ALPHA, BETA);
        token.transfer(address(poor), 1e18);
        vm.stopPrank();
        uint256[2] memory ids = [bought(bob), bought(bob)];
        vm.startPrank(bob);
        assertEq(poor.rewardSale(ids[0], 5, ITEM), 1e18);
        assertEq(poor.rewardSale(ids[1], 5, ITEM), 0);
        assertEq(poor.withdraw(), 1e18);
        vm.stopPrank();
        assertEq(token.balanceOf(address(poor)), 0);
    }

    function test_constructor_refusals() public {
        IERC20 t = IERC20(address(token));
        vm.expectRevert(RewardPool.ShareTooHigh.selector);
        new RewardPool(t, sale, bank, models, oracle, 1e6, BETA);
        vm.expectRevert(RewardPool.ShareTooHigh.selector);
        new RewardPool(t, sale, bank, models, oracle, ALPHA, 1e6);
        vm.expectRevert(RewardPool.NotReporter.selector); // the oracle obeys another pool
        new RewardPool(t, sale, bank, models, oracle, ALPHA, BETA);
    }

    function test_fund_adds_to_the_grant() public {
        vm.startPrank(bob);
        token.approve(address(rewards), 5e18);
        rewards.fund(5e18);
        vm.stopPrank();
        assertEq(token.balanceOf(address(rewards)), 1_000_000 * TOKEN + 5e18);
    }
}
