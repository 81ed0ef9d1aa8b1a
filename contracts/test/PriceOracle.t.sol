// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Base} from "./Base.sol";
import {PriceOracle} from "../src/PriceOracle.sol";

contract PriceOracleTest is Base {
    uint256 constant WAD = 1e18;
    uint64 dataset;

    function setUp() public override {
        super.setUp();
        dataset = reg(100, 800_000);
    }

    function reg(uint32 records, uint32 quality) internal returns (uint64) {
        uint64[] memory none;
        vm.prank(alice);
        return registry.register("root", 4, records, REVIEWS, CC_BY, 0, quality, none, "");
    }

    function report(uint8 rating, uint256 paid) internal {
        vm.prank(address(rewards));
        oracle.report(dataset, rating, paid);
    }

    function test_quote_by_the_formula() public {
        // 0.01 a record * 100 * (0.5 + 0.8)
        assertEq(oracle.quote(dataset), 1.3e18);
        vm.startPrank(admin);
        oracle.setBase(REVIEWS, 0.02e18);
        oracle.setLicenceFactor(CC_BY, 1.5e18);
        vm.stopPrank();
        assertEq(oracle.quote(dataset), 3.9e18);
        vm.warp(block.timestamp + 365 days);
        assertEq(oracle.quote(dataset), 1.95e18);
        vm.warp(block.timestamp + 365 days);
        assertEq(oracle.quote(dataset), 1.95e18);
        vm.expectRevert(PriceOracle.UnknownDataset.selector);
        oracle.quote(dataset + 1);
    }

    function test_quote_holds_for_a_day() public {
        uint256 now_ = oracle.quote(dataset);
        vm.warp(block.timestamp + 1 days - 1);
        assertEq(oracle.quote(dataset), now_);
        vm.warp(block.timestamp + 1);
        assertLt(oracle.quote(dataset), now_);
    }

    function test_admin_sets_prices_within_bounds_only() public {
        vm.expectPartialRevert(Ownable.OwnableUnauthorizedAccount.selector);
        oracle.setBase(REVIEWS, 1);
        vm.expectPartialRevert(Ownable.OwnableUnauthorizedAccount.selector);
        oracle.setLicenceFactor(CC_BY, WAD);
        vm.startPrank(admin);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        oracle.setBase(REVIEWS, 0);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        oracle.setBase(REVIEWS, 1e24 + 1);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        oracle.setLicenceFactor(CC_BY, 0.01e18 - 1);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        oracle.setLicenceFactor(CC_BY, 100e18 + 1);
        vm.stopPrank();
    }

    function test_constructor_bounds() public {
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        new PriceOracle(registry, dave, admin, 0, 1 days, 250_000);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        new PriceOracle(registry, dave, admin, 1, 0, 250_000);
        vm.expectRevert(PriceOracle.OutOfBounds.selector); // decay alone would break a clamp that tight
        new PriceOracle(registry, dave, admin, 1, 1 days, 49_999);
        vm.expectRevert(PriceOracle.OutOfBounds.selector);
        new PriceOracle(registry, dave, admin, 1, 1 days, 500_001);
    }

    function test_only_the_pool_reports() public {
        vm.expectRevert(PriceOracle.NotReporter.selector);
        oracle.report(dataset, 5, 1e18);
        vm.startPrank(address(rewards));
        vm.expectRevert(PriceOracle.BadRating.selector);
        oracle.report(dataset, 0, 1e18);
        vm.expectRevert(PriceOracle.BadRating.selector);
        oracle.report(dataset, 6, 1e18);
        vm.stopPrank();
    }

    function test_good_purchases_raise_and_bad_ones_lower_the_quote() public {
        uint256 before = oracle.quote(dataset);
        report(5, before);
        assertEq(oracle.demandFactor(dataset), 1.06e18); // 2 % for the purchase, 2 % a star over 3
        assertEq(oracle.quote(dataset), before * 106 / 100);
        report(3, oracle.quote(dataset));
        assertEq(oracle.demandFactor(dataset), 1.0812e18);
        uint256 high = oracle.demandFactor(dataset);
        report(1, oracle.quote(dataset));
        assertEq(oracle.demandFactor(dataset), high * 102 / 100 * 96 / 100);
        assertLt(oracle.demandFactor(dataset), high);
    }

    function test_a_purchase_far_below_the_quote_hardly_counts() public {
        uint256 fair = oracle.quote(dataset);
        report(5, fair / 1000);
        assertApproxEqAbs(oracle.demandFactor(dataset), 1.00006e18, 1e12);
        report(5, 0);
        assertApproxEqAbs(oracle.demandFactor(dataset), 1.00006e18, 1e12);
        uint64 twin = reg(100, 800_000);
        vm.prank(address(rewards));
        oracle.report(twin, 5, fair * 1000); // and one far above counts once
        assertEq(oracle.demandFactor(twin), 1.06e18);
    }

    function testFuzz_clamp_holds_in_every_epoch(uint256 seed) public {
        for (uint256 e; e < 6; ++e) {
            uint256 start = oracle.demandFactor(dataset);
            for (uint256 i; i < 12; ++i) {
                seed = uint256(keccak256(abi.encode(seed)));
                report(uint8(1 + seed % 5), seed % 3 == 0 ? seed % 1e20 : 1e24);
                uint256 f = oracle.demandFactor(dataset);
                assertGe(f, start * 75 / 100);
                assertLe(f, start * 125 / 100);
                assertGe(f, oracle.MIN_DEMAND());
                assertLe(f, oracle.MAX_DEMAND());
            }
            vm.warp(block.timestamp + 1 days * (1 + seed % 3));
        }
    }

    function test_the_clamp_stops_a_pump_and_all_time_bounds_hold() public {
        for (uint256 i; i < 30; ++i) report(5, 1e24);
        assertEq(oracle.demandFactor(dataset), 1.25e18);
        for (uint256 e; e < 12; ++e) {
            vm.warp(block.timestamp + 1 days);
            for (uint256 i; i < 30; ++i) report(5, 1e24);
        }
        assertEq(oracle.demandFactor(dataset), 4e18);
        for (uint256 e; e < 30; ++e) {
            vm.warp(block.timestamp + 1 days);
            for (uint256 i; i < 30; ++i) report(1, 1e24);
        }
        assertEq(oracle.demandFactor(dataset), 0.25e18);
    }

    function testFuzz_silence_brings_demand_back_to_one(uint8 epochs, bool up) public {
        for (uint256 i; i < 12; ++i) report(up ? 5 : 1, 1e24);
        uint256 last = oracle.demandFactor(dataset);
        for (uint256 e; e < bound(epochs, 1, 60); ++e) {
            vm.warp(block.timestamp + 1 days);
            uint256 f = oracle.demandFactor(dataset);
            if (up) {
                assertLe(f, last);
                assertGe(f, WAD);
                assertGe(f, last * 75 / 100);
            } else {
                assertGe(f, last);
                assertLe(f, WAD);
                assertLe(f, last * 125 / 100);
            }
            last = f;
        }
        vm.warp(block.timestamp + 40 days);
        assertEq(oracle.demandFactor(dataset), WAD);
    }

    function testFuzz_quote_is_monotone(uint32 records, uint32 q1, uint32 q2, uint16 days_) public {
        records = uint32(bound(records, 1, type(uint32).max - 1));
        q1 = uint32(bound(q1, 0, 1e6));
        q2 = uint32(bound(q2, q1, 1e6));
        uint64 a = reg(records, q1);
        uint64 b = reg(records, q2);
        uint64 c = reg(records + 1, q2);
        vm.prank(address(rewards));
        oracle.report(c, 5, type(uint96).max);
        vm.warp(block.timestamp + uint256(days_) * 1 days);
        assertLe(oracle.quote(a), oracle.quote(b));
        assertLe(oracle.quote(b), oracle.quote(c));
        uint256 now_ = oracle.quote(c);
        vm.warp(block.timestamp + 1 days);
        assertLe(oracle.quote(c), now_); // freshness and decay only fall without a purchase
    }

    function test_the_largest_quote_does_not_overflow() public {
        dataset = reg(type(uint32).max, 1_000_000);
        vm.startPrank(admin);
        oracle.setBase(REVIEWS, 1e24);
        oracle.setLicenceFactor(CC_BY, 100e18);
        vm.stopPrank();
        for (uint256 e; e < 10; ++e) {
            for (uint256 i; i < 10; ++i) report(5, type(uint256).max / 1e18);
            vm.warp(block.timestamp + 1 days);
        }
        assertGt(oracle.quote(dataset), 1e35);
    }
}
