// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {DataRegistry} from "../../src/DataRegistry.sol";
import {KeySale} from "../../src/KeySale.sol";
import {KeySaleTypes} from "../../src/KeySaleTypes.sol";
import {ModelRegistry} from "../../src/ModelRegistry.sol";
import {PriceOracle} from "../../src/PriceOracle.sol";
import {RewardPool} from "../../src/RewardPool.sol";
import {SchwungToken} from "../../src/SchwungToken.sol";
import {StakeVault} from "../../src/StakeVault.sol";

/// Four people with a dataset each, who buy each other's (and their own) data and rate it. An action whose conditions hold
/// must succeed: the campaign runs with fail-on-revert, and `done` says how often each did.
abstract contract FlywheelHandler is Test {
    struct Suite {
        SchwungToken token;
        DataRegistry registry;
        KeySale sale;
        ModelRegistry models;
        PriceOracle oracle;
        RewardPool rewards;
        StakeVault stakes;
    }

    uint256 internal constant PEOPLE = 4;
    bytes32 private constant GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;
    bytes32 private constant GY = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8;

    Suite internal s;
    uint256[4] internal keys; // by ascending address
    address[4] public people;
    uint64[4] internal datasetOf;
    uint256[] internal paidSales;
    mapping(bytes32 action => uint256) public done;
    uint256 public slashes;
    uint256 public clampBroken;
    uint256 public rewardAboveFee;
    mapping(uint64 dataset => uint256) private epochStart;
    mapping(uint64 dataset => uint256) private epochOf;

    constructor(Suite memory suite) {
        s = suite;
        uint256 found;
        for (uint256 key = 0xA1; found < PEOPLE; ++key) {
            if (uint160(vm.addr(key)) >> 158 != found) continue; // the first quarter, the second, …
            (keys[found], people[found]) = (key, vm.addr(key));
            ++found;
        }
    }

    function equip(address bank) external {
        uint64[] memory none;
        for (uint256 i; i < PEOPLE; ++i) {
            s.token.transfer(people[i], 1e26);
            vm.startPrank(people[i]);
            s.token.approve(address(s.sale), type(uint256).max);
            s.token.approve(address(s.models), type(uint256).max);
            s.token.approve(address(s.stakes), type(uint256).max);
            s.token.approve(bank, type(uint256).max);
            s.stakes.stake(1_000e18);
            uint32 records = uint32(100 * (i + 1) ** 2);
            datasetOf[i] = s.registry.register("root", 4, records, "d", "l", 0, 500_000, none, "");
            vm.stopPrank();
        }
    }

    // -------------------------------------------------------------------------------------------------- data

    function buy(uint256 seller, uint256 buyer, uint96 price) external {
        uint256 n = s.sale.offerCount();
        uint256 offerId = 1 + seller % (n == 0 ? 1 : n);
        if (n < 3) {
            price = uint96(bound(price, 1, 1e21));
            vm.prank(people[seller % PEOPLE]);
            offerId = s.sale.offer(datasetOf[seller % PEOPLE], price, price > 1e18 ? price : 1e18);
        }
        vm.startPrank(people[buyer % PEOPLE]);
        uint256 id = s.sale.lock(offerId, type(uint96).max, GX, GY);
        s.sale.confirm(id);
        vm.stopPrank();
        paidSales.push(id);
        ++done["buy"];
    }

    function rateSale(uint256 which, uint8 rating) external {
        if (paidSales.length == 0) return;
        uint256 id = paidSales[which % paidSales.length];
        if (s.rewards.rated(id)) return;
        uint64 dataset = s.sale.offers(id >> 64).dataset;
        KeySaleTypes.Sale memory sold = s.sale.sales(id);
        beginEpoch(dataset);
        vm.prank(sold.buyer);
        uint256 amount = s.rewards.rewardSale(id, uint8(bound(rating, 1, 5)), 0);
        if (amount >= s.sale.feeOf(sold.price)) ++rewardAboveFee;
        checkClamp(dataset);
        ++done["rateSale"];
        if (amount != 0) ++done["rewarded"];
    }

    function collect(uint256 which) external {
        uint256 n = s.sale.offerCount();
        if (n == 0) return;
        uint256[] memory offers = new uint256[](1);
        offers[0] = 1 + which % n;
        address seller = s.sale.offers(offers[0]).seller;
        vm.prank(seller);
        s.sale.collectAndWithdraw(offers);
        ++done["collect"];
    }

    // -------------------------------------------------------------------------------------------------- stakes

    function unbond(uint256 who, uint96 amount) external {
        address person = people[who % PEOPLE];
        amount = uint96(bound(amount, 0, s.stakes.available(person) / 4));
        vm.prank(person);
        s.stakes.unbond(amount);
        ++done["unbond"];
    }

    function withdrawStake(uint256 who) external {
        vm.startPrank(people[who % PEOPLE]);
        if (s.stakes.withdraw() != 0) ++done["withdrawStake"];
        if (s.stakes.available(people[who % PEOPLE]) < 200e18) s.stakes.stake(500e18);
        vm.stopPrank();
    }

    // -------------------------------------------------------------------------------------------------- the rest

    function burn(bool which) external {
        if (which) s.sale.burnFees();
        else s.models.burnFees();
        ++done["burn"];
    }

    function takeRewards(uint256 who) external {
        vm.prank(people[who % PEOPLE]);
        if (s.rewards.withdraw() != 0) ++done["takeRewards"];
    }

    function beginEpoch(uint64 dataset) private {
        uint256 epoch = s.oracle.epoch() + 1;
        if (epochOf[dataset] == epoch) return;
        epochOf[dataset] = epoch;
        epochStart[dataset] = s.oracle.demandFactor(dataset);
    }

    function checkClamp(uint64 dataset) private {
        uint256 f = s.oracle.demandFactor(dataset);
        uint256 start = epochStart[dataset];
        if (f > start * 125 / 100 || f < start * 75 / 100) ++clampBroken;
    }
}
