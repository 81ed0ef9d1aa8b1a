// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "../Base.sol";
import {FlywheelHandler} from "./FlywheelHandler.sol";
import {FlywheelModels} from "./FlywheelModels.sol";
import {FlywheelRewards} from "./FlywheelRewards.sol";
import {ModelTypes} from "../../src/ModelTypes.sol";

/// The flywheel turned at random: data bought and rated, models built on one another, called, doubted and ruled on, epochs of
/// rewards proposed and refuted, stakes in motion. Money moves between all the contracts.
contract FlywheelInvariant is Base {
    FlywheelRewards handler;
    string[27] names = [
        "buy", "rateSale", "rewarded", "collect", "publish", "call", "pay", "claim", "claimPublisher", "claimParent",
        "challengeModel", "ruleWrong", "ruleRight", "lapse", "release", "propose", "proposeFalse", "challengeEpoch",
        "noFault", "claimEpoch", "rewardedLane", "finish", "takeRewards", "unbond", "withdrawStake", "burn", "wait"
    ];
    uint256 grant;

    function setUp() public override {
        super.setUp();
        vm.startPrank(admin);
        newModelsAndRewards(admin, CHALLENGE, CHALLENGE);
        grant = 300e18; // small: some runs empty it
        token.transfer(address(rewards), grant);
        FlywheelHandler.Suite memory suite =
            FlywheelHandler.Suite(token, registry, sale, models, oracle, rewards, stakes);
        handler = new FlywheelRewards(suite, bank, arbiter);
        token.transfer(address(handler), 4e26);
        vm.stopPrank();
        handler.equip(address(bank));
        for (uint256 i; i < 4; ++i) {
            address person = handler.people(i);
            vm.prank(person);
            bank.deposit(person, 1e25);
        }
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), actions()));
    }

    function actions() internal pure returns (bytes4[] memory f) {
        f = new bytes4[](23);
        f[0] = FlywheelHandler.buy.selector;
        f[1] = FlywheelHandler.rateSale.selector;
        f[2] = FlywheelModels.publish.selector;
        f[3] = FlywheelModels.call.selector;
        f[4] = FlywheelModels.pay.selector;
        f[5] = FlywheelModels.claim.selector;
        f[6] = FlywheelModels.claimPublisher.selector;
        f[7] = FlywheelModels.claimParent.selector;
        f[8] = FlywheelModels.challengeModel.selector;
        f[9] = FlywheelModels.ruleModel.selector;
        f[10] = FlywheelModels.endDoubts.selector;
        f[11] = FlywheelRewards.propose.selector;
        f[12] = FlywheelRewards.challengeEpoch.selector;
        f[13] = FlywheelRewards.claimEpoch.selector;
        f[14] = FlywheelRewards.finish.selector;
        f[15] = FlywheelRewards.wait.selector;
        f[16] = FlywheelHandler.takeRewards.selector;
        f[17] = FlywheelHandler.collect.selector;
        f[18] = FlywheelHandler.burn.selector;
        f[19] = FlywheelHandler.unbond.selector;
        f[20] = FlywheelHandler.withdrawStake.selector;
        f[21] = FlywheelModels.call.selector;
        f[22] = FlywheelRewards.claimEpoch.selector;
    }

    /// One campaign for all of them: each invariant function would run its own. A handler's action that reverts fails it.
    /// forge-config: default.invariant.fail-on-revert = true
    function invariant_flywheel() public view {
        models_hold_what_they_owe();
        no_model_pays_out_more_than_came_in();
        claims_never_exceed_their_weight();
        rewards_stay_within_alpha_of_the_fees_burnt();
        the_pool_holds_what_it_owes_and_promised();
        no_settled_unit_is_rewarded_twice();
        the_vault_holds_what_it_owes();
        demand_stays_within_its_clamp();
        no_token_appears_or_disappears();
    }

    /// No action is vacuous: each can succeed, and afterwards everybody can leave.
    function test_every_action_of_the_handler_succeeds() public {
        handler.buy(0, 1, 1e20);
        handler.rateSale(0, 5);
        for (uint256 i; i < 6; ++i) handler.publish(0, 1e5, uint32(i), 2_000, 1_000, i);
        handler.challengeModel(0, 0);
        handler.challengeModel(1, 1);
        handler.challengeModel(2, 2);
        handler.ruleModel(0, true);
        handler.ruleModel(1, false);
        for (uint256 i; i < 6; ++i) {
            handler.call(i, i, 1e20);
            handler.pay(1, i, 1e20);
        }
        handler.unbond(3, 1e18);
        handler.propose(0, true, 1e18);
        handler.challengeEpoch(0, 0);
        handler.challengeEpoch(0, 3);
        handler.propose(0, false, 0);
        handler.wait(60);
        handler.endDoubts(2);
        handler.endDoubts(3);
        for (uint256 i; i < 4; ++i) handler.claimEpoch(1, i);
        handler.finish(1);
        handler.claim(0, 3);
        handler.claimPublisher(0);
        handler.claimParent(5);
        handler.takeRewards(3);
        for (uint256 i; i < 4; ++i) handler.withdrawStake(i);
        handler.collect(0);
        handler.burn(true);
        invariant_flywheel();
        for (uint256 i; i < names.length; ++i) assertGt(handler.done(bytes32(bytes(names[i]))), 0, names[i]);
        everybody_can_leave();
    }

    function models_hold_what_they_owe() internal view {
        uint256 owed = models.feesDue();
        for (uint256 i; i < handler.modelCount(); ++i) owed += models.owedFor(handler.modelIds(i));
        assertEq(token.balanceOf(address(models)), owed);
    }

    function no_model_pays_out_more_than_came_in() internal view {
        for (uint256 i; i < handler.modelCount(); ++i) {
            bytes32 id = handler.modelIds(i);
            ModelTypes.Model memory m = models.models(id);
            assertEq(uint256(m.paidOut) + m.publisherPaid + m.parentPaid, handler.paidOut(id));
            assertLe(handler.paidOut(id), m.received);
            assertLe(m.received, handler.cameIn(id) + handler.handedUp(id));
            assertLe(m.parentPaid, uint256(m.received) * m.parentBps / 10_000);
            assertLe(m.publisherPaid, (uint256(m.received) - m.parentPaid) * m.publisherBps / 10_000);
        }
    }

    function claims_never_exceed_their_weight() internal view {
        for (uint256 i; i < handler.modelCount(); ++i) {
            bytes32 id = handler.modelIds(i);
            ModelTypes.Model memory m = models.models(id);
            uint256 rest = m.received - uint256(m.received) * m.parentBps / 10_000;
            uint256 pool = rest - rest * m.publisherBps / 10_000;
            uint256 sum;
            for (uint256 leaf; leaf < 5; ++leaf) {
                uint256 got = models.claimed(id, leaf);
                if (m.phase == ModelTypes.Phase.Staked) assertLe(got, pool);
                sum += got;
            }
            assertEq(sum, m.paidOut);
            assertLe(sum, pool);
        }
    }

    function rewards_stay_within_alpha_of_the_fees_burnt() internal view {
        uint256 burnt = sale.feesBurnt() + models.feesBurnt();
        assertLe(rewards.rewarded() + rewards.promised(), burnt * ALPHA / 1e6);
        assertLe(rewards.rewarded() + rewards.promised(), grant);
        assertEq(handler.rewardAboveFee(), 0);
    }

    function the_pool_holds_what_it_owes_and_promised() internal view {
        uint256 credits;
        for (uint256 i; i < 4; ++i) credits += rewards.credit(handler.people(i));
        assertEq(rewards.owed(), credits);
        assertGe(token.balanceOf(address(rewards)), credits + rewards.promised());
        uint256 taken = rewards.rewarded() - credits;
        assertEq(token.balanceOf(address(rewards)), grant - taken);
    }

    /// With a watcher who refutes every lie in time: all epochs together give at most beta of the fee of what was settled.
    function no_settled_unit_is_rewarded_twice() internal view {
        assertEq(handler.trueAccountRefuted(), 0);
        for (uint256 i; i < 4; ++i) {
            address payer = handler.people(i);
            uint256 settled;
            for (uint256 n; n < handler.modelCount(); ++n) {
                (uint96 paid,,) = bank.lanes(payer, address(models), uint64(uint256(handler.modelIds(n))));
                settled += paid;
            }
            assertLe(handler.laneRewards(payer), rewards.entitlement(settled));
            assertEq(handler.laneRewards(payer), rewards.claimed(payer));
        }
    }

    function the_vault_holds_what_it_owes() internal view {
        uint256 owed;
        for (uint256 i; i < 4; ++i) {
            address who = handler.people(i);
            (uint96 free, uint96 leaving,) = stakes.accounts(who);
            owed += uint256(free) + leaving + stakes.credit(who);
            owed += stakes.bound(who, address(models)) + stakes.bound(who, address(rewards));
        }
        assertEq(token.balanceOf(address(stakes)), owed);
    }

    function demand_stays_within_its_clamp() internal view {
        assertEq(handler.clampBroken(), 0);
    }

    function no_token_appears_or_disappears() internal view {
        uint256 sum = token.balanceOf(admin) + token.balanceOf(address(handler));
        for (uint256 i; i < 4; ++i) sum += token.balanceOf(handler.people(i));
        address[8] memory others = [
            address(sale), address(bank), address(models), address(rewards), address(stakes), alice, bob, carol
        ];
        for (uint256 i; i < 8; ++i) sum += token.balanceOf(others[i]);
        sum += 1_000_000 * TOKEN; // the grant of the suite's first pool
        assertEq(token.totalSupply(), sum);
        uint256 burnt = sale.feesBurnt() + models.feesBurnt() + handler.slashes() * STAKE / 2;
        assertEq(1_000_000_000 * TOKEN - token.totalSupply(), burnt);
    }

    /// Whatever happened before: time passes, and every stake and share comes home; only dust of the division stays.
    function everybody_can_leave() internal {
        handler.leave();
        assertEq(token.balanceOf(address(stakes)), 0);
        uint256 dust = token.balanceOf(address(models)) - models.feesDue();
        assertLe(dust, 5 * handler.modelCount());
        assertEq(rewards.owed(), 0);
        the_pool_holds_what_it_owes_and_promised();
    }

    function afterInvariant() public {
        for (uint256 i; i < names.length; ++i) emit log_named_uint(names[i], handler.done(bytes32(bytes(names[i]))));
        assertGt(handler.done("buy"), 0);
        assertGt(handler.done("publish"), 0);
        assertGt(handler.done("call") + handler.done("rateSale"), 0);
        everybody_can_leave();
    }
}
