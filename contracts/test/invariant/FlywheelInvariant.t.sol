// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {Base} from "../Base.sol";
import {DataRegistry} from "../../src/DataRegistry.sol";
import {KeySale} from "../../src/KeySale.sol";
import {KeySaleTypes} from "../../src/KeySaleTypes.sol";
import {ModelRegistry} from "../../src/ModelRegistry.sol";
import {PriceOracle} from "../../src/PriceOracle.sol";
import {RewardPool} from "../../src/RewardPool.sol";
import {SchwungToken} from "../../src/SchwungToken.sol";
import {VoucherBank} from "../../src/VoucherBank.sol";

/// The flywheel turned at random: people buy each other's (and their own) data, publish models whose weights may promise more
/// than there is, call them, claim, and rate. Money moves between all the contracts.
contract FlywheelHandler is Test {
    struct Suite {
        SchwungToken token;
        DataRegistry registry;
        KeySale sale;
        VoucherBank bank;
        ModelRegistry models;
        PriceOracle oracle;
        RewardPool rewards;
    }

    bytes32 constant GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;
    bytes32 constant GY = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8;

    Suite s;
    uint256[4] keys = [uint256(0xA1), 0xB2, 0xC3, 0xD4];
    address[4] public people;
    uint256[] public paidSales;
    bytes32[] public modelIds;
    mapping(bytes32 model => uint256) public totalOf;
    mapping(bytes32 model => uint256) public cameIn;
    mapping(bytes32 action => uint256) public done;
    uint256 public clampBroken;
    uint256 public rewardAboveFee;
    mapping(uint64 dataset => uint256) epochStart;
    mapping(uint64 dataset => uint256) epochOf;

    constructor(Suite memory suite) {
        s = suite;
        for (uint256 i; i < 4; ++i) people[i] = vm.addr(keys[i]);
    }

    function equip() external {
        for (uint256 i; i < 4; ++i) {
            s.token.transfer(people[i], 1e26);
            vm.startPrank(people[i]);
            s.token.approve(address(s.sale), type(uint256).max);
            s.token.approve(address(s.bank), type(uint256).max);
            s.token.approve(address(s.models), type(uint256).max);
            s.bank.deposit(people[i], 1e24);
            vm.stopPrank();
        }
    }

    function sales() external view returns (uint256) {
        return paidSales.length;
    }

    function modelCount() external view returns (uint256) {
        return modelIds.length;
    }

    // -------------------------------------------------------------------------------------------------- data

    function buy(uint256 seller, uint256 buyer, uint96 price) external {
        uint256 n = s.sale.offerCount();
        uint256 offerId;
        if (n < 3) {
            price = uint96(bound(price, 1, 1e21));
            uint64[] memory none;
            vm.startPrank(people[seller % 4]);
            uint64 dataset = s.registry.register("root", 4, uint32(10 * (n + 1)), "d", "l", 0, 500_000, none, "");
            offerId = s.sale.offer(dataset, price, price > 1e18 ? price : 1e18);
            vm.stopPrank();
        } else {
            offerId = 1 + seller % n;
        }
        vm.startPrank(people[buyer % 4]);
        uint256 id = s.sale.lock(offerId, type(uint96).max, GX, GY);
        s.sale.confirm(id);
        vm.stopPrank();
        paidSales.push(id);
        ++done["buy"];
    }

    function rateSale(uint256 which, uint8 rating) external {
        if (paidSales.length == 0) return;
        uint256 id = paidSales[which % paidSales.length];
        uint64 dataset = s.sale.offers(id >> 64).dataset;
        KeySaleTypes.Sale memory sold = s.sale.sales(id);
        beginEpoch(dataset);
        vm.prank(sold.buyer);
        try s.rewards.rewardSale(id, uint8(bound(rating, 1, 5)), 0) returns (uint256 amount) {
            if (amount >= s.sale.feeOf(sold.price)) ++rewardAboveFee;
            checkClamp(dataset);
            ++done["rateSale"];
            if (amount != 0) ++done["rewarded"];
        } catch {}
    }

    // -------------------------------------------------------------------------------------------------- models

    /// One heir, the third person, with a weight of 100 of `total`: below 100 the root promises more than there is.
    function publish(uint256 who, uint128 total, uint16 bps) external {
        if (modelIds.length == 3) return;
        total = uint128(bound(total, 50, 200));
        bytes32 id = keccak256(abi.encode(modelIds.length));
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(uint256(0), people[2], uint128(100)))));
        uint64[] memory none;
        vm.prank(people[who % 4]);
        s.models.publish(id, leaf, total, uint16(bound(bps, 0, 10_000)), 1, none, "");
        totalOf[id] = total;
        modelIds.push(id);
        ++done["publish"];
    }

    function call(uint256 who, uint256 which, uint96 more) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        uint64 lane = uint64(uint256(id));
        address payer = people[who % 4];
        (uint96 paid,,) = s.bank.lanes(payer, address(s.models), lane);
        uint96 cumulative = paid + uint96(bound(more, 1, 1e22));
        bytes32 h = keccak256(abi.encode(s.bank.VOUCHER_TYPEHASH(), payer, address(s.models), lane, cumulative));
        (uint8 v, bytes32 r, bytes32 sig) =
            vm.sign(keys[who % 4], keccak256(abi.encodePacked("\x19\x01", s.bank.domainSeparator(), h)));
        VoucherBank.Item[] memory items = new VoucherBank.Item[](1);
        items[0] = VoucherBank.Item(payer, lane, cumulative, r, bytes32(uint256(sig) | (uint256(v - 27) << 255)));
        uint256 got = s.models.settle(id, items);
        cameIn[id] += got;
        if (got != 0) ++done["call"];
    }

    function pay(uint256 who, uint256 which, uint96 amount) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        amount = uint96(bound(amount, 1, 1e21));
        vm.prank(people[who % 4]);
        s.models.pay(id, amount);
        cameIn[id] += amount;
        ++done["pay"];
    }

    function claim(uint256 which, bool publisher) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        if (publisher) {
            if (s.models.claimPublisher(id) != 0) ++done["claimPublisher"];
            return;
        }
        bytes32[] memory none;
        try s.models.claim(id, 0, people[2], 100, none) returns (uint256 amount) {
            if (amount != 0) ++done["claim"];
        } catch {}
    }

    function rateLane(uint256 who, uint256 which, uint8 rating) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        vm.prank(people[who % 4]);
        try s.rewards.rewardLane(id, uint8(bound(rating, 1, 5)), 0) {
            ++done["rateLane"];
        } catch {}
    }

    // -------------------------------------------------------------------------------------------------- the rest

    function burn(bool which) external {
        if (which) s.sale.burnFees();
        else s.models.burnFees();
    }

    function takeRewards(uint256 who) external {
        vm.prank(people[who % 4]);
        if (s.rewards.withdraw() != 0) ++done["takeRewards"];
    }

    function collect(uint256 which) external {
        uint256 n = s.sale.offerCount();
        if (n == 0) return;
        uint256[] memory offers = new uint256[](1);
        offers[0] = 1 + which % n;
        address seller = s.sale.offers(offers[0]).seller;
        vm.prank(seller);
        s.sale.collectAndWithdraw(offers);
    }

    function wait(uint256 hours_) external {
        vm.warp(block.timestamp + bound(hours_, 1, 60) * 1 hours);
        ++done["wait"];
    }

    function beginEpoch(uint64 dataset) internal {
        uint256 epoch = s.oracle.epoch() + 1;
        if (epochOf[dataset] == epoch) return;
        epochOf[dataset] = epoch;
        epochStart[dataset] = s.oracle.demandFactor(dataset);
    }

    function checkClamp(uint64 dataset) internal {
        uint256 f = s.oracle.demandFactor(dataset);
        uint256 start = epochStart[dataset];
        if (f > start * 125 / 100 || f < start * 75 / 100) ++clampBroken;
    }
}

contract FlywheelInvariant is Base {
    FlywheelHandler handler;
    string[10] names = [
        "buy", "rateSale", "rewarded", "publish", "call", "pay", "claim", "claimPublisher", "rateLane", "takeRewards"
    ];
    uint256 grant;

    function setUp() public override {
        super.setUp();
        models = new ModelRegistry(models.token(), bank, registry, 0, FEE_BPS, guardian);
        vm.startPrank(admin);
        address pool = vm.computeCreateAddress(admin, vm.getNonce(admin) + 1);
        oracle = new PriceOracle(registry, pool, admin, TOKEN / 100, 1 days, 250_000);
        rewards = new RewardPool(models.token(), sale, bank, models, oracle, ALPHA, BETA);
        grant = 300e18; // small: some runs empty it
        token.transfer(address(rewards), grant);
        vm.stopPrank();
        handler = new FlywheelHandler(FlywheelHandler.Suite(token, registry, sale, bank, models, oracle, rewards));
        vm.prank(admin);
        token.transfer(address(handler), 4e26);
        handler.equip();
        targetContract(address(handler));
        bytes4[] memory f = new bytes4[](12);
        f[0] = FlywheelHandler.buy.selector;
        f[1] = FlywheelHandler.rateSale.selector;
        f[2] = FlywheelHandler.publish.selector;
        f[3] = FlywheelHandler.call.selector;
        f[4] = FlywheelHandler.pay.selector;
        f[5] = FlywheelHandler.claim.selector;
        f[6] = FlywheelHandler.rateLane.selector;
        f[7] = FlywheelHandler.burn.selector;
        f[8] = FlywheelHandler.takeRewards.selector;
        f[9] = FlywheelHandler.collect.selector;
        f[10] = FlywheelHandler.wait.selector;
        f[11] = FlywheelHandler.buy.selector;
        targetSelector(FuzzSelector(address(handler), f));
    }

    /// One campaign for all of them: each invariant function would run its own.
    function invariant_flywheel() public view {
        models_hold_what_they_owe();
        no_model_pays_out_more_than_came_in();
        rewards_stay_within_alpha_of_the_fees_burnt();
        the_pool_holds_what_it_owes();
        demand_stays_within_its_clamp();
        no_token_appears_or_disappears();
    }

    /// No action is vacuous: each can succeed.
    function test_every_action_of_the_handler_succeeds() public {
        handler.buy(0, 1, 1e20);
        handler.rateSale(0, 5);
        handler.publish(0, 100, 2_000);
        handler.call(1, 0, 1e20);
        handler.pay(1, 0, 1e20);
        handler.claim(0, false);
        handler.claim(0, true);
        handler.rateLane(1, 0, 4);
        handler.takeRewards(1);
        handler.collect(0);
        for (uint256 i; i < names.length; ++i) assertGt(handler.done(bytes32(bytes(names[i]))), 0, names[i]);
        invariant_flywheel();
    }

    function models_hold_what_they_owe() internal view {
        uint256 owed = models.feesDue();
        for (uint256 i; i < handler.modelCount(); ++i) owed += models.owedFor(handler.modelIds(i));
        assertEq(token.balanceOf(address(models)), owed);
    }

    function no_model_pays_out_more_than_came_in() internal view {
        for (uint256 i; i < handler.modelCount(); ++i) {
            bytes32 id = handler.modelIds(i);
            ModelRegistry.Model memory m = models.models(id);
            assertLe(uint256(m.paidOut) + m.publisherPaid, m.received);
            assertLe(m.received, handler.cameIn(id));
            assertLe(m.publisherPaid, uint256(m.received) * m.publisherBps / 10_000);
        }
    }

    function rewards_stay_within_alpha_of_the_fees_burnt() internal view {
        uint256 burnt = sale.feesBurnt() + models.feesBurnt();
        assertLe(rewards.rewarded(), burnt * ALPHA / 1e6);
        assertLe(rewards.rewarded(), grant);
        assertEq(handler.rewardAboveFee(), 0);
    }

    function the_pool_holds_what_it_owes() internal view {
        uint256 credits;
        for (uint256 i; i < 4; ++i) credits += rewards.credit(handler.people(i));
        assertEq(rewards.owed(), credits);
        assertGe(token.balanceOf(address(rewards)), credits);
        uint256 taken = rewards.rewarded() - credits;
        assertEq(token.balanceOf(address(rewards)), grant - taken);
    }

    function demand_stays_within_its_clamp() internal view {
        assertEq(handler.clampBroken(), 0);
    }

    function no_token_appears_or_disappears() internal view {
        uint256 sum = token.balanceOf(admin) + token.balanceOf(address(handler));
        for (uint256 i; i < 4; ++i) sum += token.balanceOf(handler.people(i));
        address[7] memory others =
            [address(sale), address(bank), address(models), address(rewards), alice, bob, carol];
        for (uint256 i; i < 7; ++i) sum += token.balanceOf(others[i]);
        sum += 1_000_000 * TOKEN; // the grant of the suite's first pool
        assertEq(token.totalSupply(), sum);
        assertEq(1_000_000_000 * TOKEN - token.totalSupply(), sale.feesBurnt() + models.feesBurnt());
    }

    function afterInvariant() public {
        for (uint256 i; i < names.length; ++i) emit log_named_uint(names[i], handler.done(bytes32(bytes(names[i]))));
        assertGt(handler.done("buy"), 0);
        assertGt(handler.done("call") + handler.done("rateSale"), 0);
    }
}
