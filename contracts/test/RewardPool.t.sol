// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base, Trees} from "./Base.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {RewardPool} from "../src/RewardPool.sol";
import {RewardTypes} from "../src/RewardTypes.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

contract RewardPoolTest is Base {
    uint96 constant PRICE = 100e18;
    uint256 constant FEE = 2.5e18;
    bytes32 constant ITEM = keccak256("feedback");
    bytes32 constant MODEL = keccak256("model");
    bytes32 constant OTHER = keccak256("other");
    bytes32 constant EVIDENCE = keccak256("evidence");
    uint256 offerId;
    RewardTypes.Account[] internal accounts; // of the proposal under way

    function setUp() public override {
        super.setUp();
        offerId = offerOf(alice, PRICE, 1000e18);
        vm.prank(carol);
        stakes.stake(100e18); // she proposes
    }

    // ------------------------------------------------------------------------------------------------ sales

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
        vm.expectRevert(RewardTypes.NotPaid.selector);
        vm.prank(bob);
        rewards.rewardSale(open, 5, ITEM);
        uint256 id = bought(bob);
        vm.expectRevert(RewardTypes.NotBuyer.selector);
        vm.prank(alice);
        rewards.rewardSale(id, 5, ITEM);
        vm.startPrank(bob);
        vm.expectRevert(PriceOracle.BadRating.selector);
        rewards.rewardSale(id, 0, ITEM);
        vm.expectRevert(PriceOracle.BadRating.selector);
        rewards.rewardSale(id, 6, ITEM);
        rewards.rewardSale(id, 5, ITEM);
        vm.expectRevert(RewardTypes.AlreadyRated.selector);
        rewards.rewardSale(id, 5, ITEM);
        vm.stopPrank();
        vm.warp(block.timestamp + DELIVER + 1);
        sale.refund(open);
        vm.expectRevert(RewardTypes.NotPaid.selector);
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
        vm.warp(block.timestamp + 2 * FEEDBACK);
        vm.startPrank(alice);
        sale.collectAndWithdraw(asArray(own));
        rewards.withdraw();
        vm.stopPrank();
        assertLt(token.balanceOf(alice), wealth);
    }

    // ------------------------------------------------------------------------------------------------ lanes

    /// Two models of alice's, deposits of bob and carol, and fees enough from others that beta decides.
    function model() internal {
        publishAlone(alice, MODEL, 2_000);
        publishAlone(alice, OTHER, 2_000);
        vm.prank(bob);
        bank.deposit(bob, 10_000e18);
        vm.prank(carol);
        bank.deposit(carol, 10_000e18);
        vm.prank(carol);
        models.pay(MODEL, 100_000e18);
    }

    function served(address payer, bytes32 id, uint96 cumulative) internal {
        uint256 key = payer == bob ? bobKey : carolKey;
        uint64 lane = models.laneOf(id);
        assertGt(models.settle(id, one(voucher(key, payer, address(models), lane, cumulative))), 0);
    }

    function due(uint256 settled) internal pure returns (uint96) {
        return uint96(settled * FEE_BPS / 10_000 * BETA / 1e6);
    }

    function account(address payer, uint96 delta, bytes32 a, uint96 upTo) internal {
        RewardTypes.Account storage x = accounts.push();
        (x.payer, x.cumulative, x.delta) = (payer, due(upTo), delta);
        x.lines.push(RewardTypes.Line(a, upTo));
    }

    function propose() internal returns (uint256) {
        vm.prank(carol);
        return rewards.propose(accounts, EVIDENCE);
    }

    function refuse(bytes4 reason) internal {
        vm.expectRevert(reason);
        vm.prank(carol);
        rewards.propose(accounts, EVIDENCE);
    }

    function leafOf(uint256 i) internal view returns (RewardTypes.Leaf memory) {
        RewardTypes.Account memory x = accounts[i];
        return RewardTypes.Leaf(i, x.payer, x.cumulative, x.delta, keccak256(abi.encode(x.lines)));
    }

    /// With one account the leaf is the root; with two, each proves the other.
    function proof(uint256 i) internal view returns (bytes32[] memory p) {
        if (accounts.length == 1) return p;
        p = new bytes32[](1);
        p[0] = hashOf(i ^ 1);
    }

    function hashOf(uint256 i) internal view returns (bytes32) {
        RewardTypes.Leaf memory l = leafOf(i);
        return keccak256(bytes.concat(keccak256(abi.encode(l.index, l.payer, l.cumulative, l.delta, l.linesHash))));
    }

    function claim(uint256 epoch, uint256 i) internal returns (uint256) {
        return rewards.claim(epoch, leafOf(i), proof(i));
    }

    function challenge(address who, uint256 epoch, uint256 i) internal {
        bytes32[] memory p = proof(i);
        vm.prank(who);
        rewards.challenge(epoch, i, accounts[i], p);
    }

    /// bob's account first: it is the lower address of the two or the test would say NotAscending.
    function both(uint96 bobUpTo, uint96 carolUpTo) internal {
        delete accounts;
        bool bobFirst = bob < carol;
        account(bobFirst ? bob : carol, due(bobFirst ? bobUpTo : carolUpTo), MODEL, bobFirst ? bobUpTo : carolUpTo);
        account(bobFirst ? carol : bob, due(bobFirst ? carolUpTo : bobUpTo), MODEL, bobFirst ? carolUpTo : bobUpTo);
    }

    function test_an_epoch_rewards_what_was_settled() public {
        model();
        served(bob, MODEL, 100e18);
        served(carol, MODEL, 300e18);
        both(100e18, 300e18);
        uint256 epoch = propose();
        assertEq(epoch, 1);
        uint256 total = uint256(due(100e18)) + due(300e18);
        assertEq(rewards.promised(), total);
        assertEq(stakes.bound(carol, address(rewards)), STAKE);
        RewardTypes.Epoch memory e = rewards.epochs(epoch);
        (bytes32 a, bytes32 b) = (hashOf(0), hashOf(1));
        assertEq(e.root, a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a)));
        assertEq(e.total, total);
        assertEq(e.proposer, carol);
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(epoch, 0) + claim(epoch, 1), total);
        assertEq(rewards.credit(bob), due(100e18));
        assertEq(rewards.credit(carol), due(300e18));
        assertEq(rewards.promised(), 0);
        assertEq(rewards.rewarded(), total);
        rewards.finish(epoch);
        assertEq(stakes.available(carol), 100e18);
        vm.prank(bob);
        assertEq(rewards.withdraw(), due(100e18));
    }

    /// The second epoch counts the whole lane again and pays what is new of it.
    function test_no_settled_unit_is_rewarded_twice() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, due(100e18), MODEL, 100e18);
        uint256 first = propose();
        RewardTypes.Leaf memory early = leafOf(0);
        vm.warp(block.timestamp + CHALLENGE);
        claim(first, 0);
        served(bob, MODEL, 300e18);
        delete accounts;
        account(bob, due(200e18), MODEL, 300e18);
        uint256 second = propose();
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(second, 0), due(300e18) - due(100e18));
        bytes32[] memory none;
        vm.expectRevert(RewardTypes.AlreadyClaimed.selector);
        rewards.claim(first, early, none);
        vm.expectRevert(RewardTypes.AlreadyClaimed.selector);
        claim(second, 0);
        assertEq(rewards.claimed(bob), due(300e18));
        delete accounts;
        account(bob, 1, MODEL, 300e18); // nothing is left of it
        refuse(RewardTypes.DeltaTooHigh.selector);
    }

    /// Two epochs promise the same money: the second claim gets nothing and gives the promise back to the budget.
    function test_a_double_promise_pays_once() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, due(100e18), MODEL, 100e18);
        uint256 first = propose();
        vm.warp(block.timestamp + EPOCH);
        uint256 second = propose();
        assertEq(rewards.promised(), 2 * uint256(due(100e18)));
        vm.warp(block.timestamp + CHALLENGE);
        uint256 budget = rewards.budget();
        assertEq(claim(second, 0), due(100e18));
        assertEq(rewards.budget(), budget);
        assertEq(claim(first, 0), 0);
        assertEq(rewards.budget(), budget + due(100e18));
        assertEq(rewards.promised(), 0);
        assertEq(rewards.rewarded(), due(100e18));
    }

    /// Out of their order two epochs pay less than they promised; nothing is lost, the next epoch owes it.
    function test_epochs_claimed_out_of_order_leave_the_rest_due() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, due(100e18), MODEL, 100e18);
        uint256 first = propose();
        RewardTypes.Leaf memory early = leafOf(0);
        served(bob, MODEL, 300e18);
        vm.warp(block.timestamp + EPOCH);
        delete accounts;
        account(bob, due(200e18), MODEL, 300e18);
        uint256 second = propose();
        vm.warp(block.timestamp + CHALLENGE);
        bytes32[] memory none;
        assertEq(claim(second, 0), due(200e18));
        assertEq(rewards.claim(first, early, none), 0);
        delete accounts;
        account(bob, due(100e18), MODEL, 300e18);
        uint256 third = propose();
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(third, 0), due(100e18));
        assertEq(rewards.claimed(bob), due(300e18));
    }

    /// A smaller delta than is due pays only that; the rest is due in the next.
    function test_a_delta_limits_a_claim() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 5, MODEL, 100e18);
        uint256 epoch = propose();
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(epoch, 0), 5);
    }

    function test_proposal_form() public {
        model();
        served(bob, MODEL, 100e18);
        served(carol, MODEL, 100e18);
        refuse(RewardTypes.NoAccounts.selector);
        account(bob, 0, MODEL, 100e18);
        refuse(RewardTypes.DeltaTooHigh.selector);
        accounts[0].delta = due(100e18) + 1;
        refuse(RewardTypes.DeltaTooHigh.selector);
        accounts[0].delta = 1;
        accounts[0].cumulative += 1;
        refuse(RewardTypes.WrongCumulative.selector);
        accounts[0].cumulative -= 2;
        refuse(RewardTypes.WrongCumulative.selector);
        accounts[0].cumulative += 1;
        accounts[0].lines.push(RewardTypes.Line(MODEL, 0)); // the same lane again
        refuse(RewardTypes.NotAscending.selector);
        accounts[0].lines.pop();
        both(100e18, 100e18);
        address last = accounts[1].payer;
        delete accounts;
        account(last, 1, MODEL, 100e18);
        account(last == bob ? carol : bob, 1, MODEL, 100e18);
        refuse(RewardTypes.NotAscending.selector);
        both(100e18, 100e18);
        accounts[1].payer = accounts[0].payer;
        refuse(RewardTypes.NotAscending.selector);
        delete accounts;
        account(bob, 1, MODEL, 100e18);
        for (uint256 i; i < 64; ++i) accounts[0].lines.push(RewardTypes.Line(bytes32(type(uint256).max - 64 + i), 0));
        refuse(RewardTypes.TooManyLines.selector);
        accounts[0].lines.pop();
        assertEq(propose(), 1);
    }

    function test_one_proposal_an_epoch() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 1, MODEL, 100e18);
        propose();
        vm.warp(block.timestamp + EPOCH - 1);
        refuse(RewardTypes.TooEarly.selector);
        vm.warp(block.timestamp + 1);
        assertEq(propose(), 2);
    }

    function test_a_proposer_needs_a_stake() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 1, MODEL, 100e18);
        vm.expectRevert(StakeVault.NotEnough.selector);
        vm.prank(dave);
        rewards.propose(accounts, EVIDENCE);
    }

    /// Alpha of what is burnt bounds promises and rewards together; fees that wait are burnt for it.
    function test_promises_stay_within_the_budget() public {
        publishAlone(alice, MODEL, 2_000);
        vm.prank(bob);
        bank.deposit(bob, 10_000e18);
        served(bob, MODEL, 100e18);
        uint96 cap = uint96(FEE * ALPHA / 1e6);
        assertEq(rewards.budget(), 0);
        account(bob, cap + 1, MODEL, 100e18);
        refuse(RewardTypes.OverBudget.selector);
        accounts[0].delta = cap;
        uint256 epoch = propose();
        assertEq(models.feesBurnt(), FEE);
        assertEq(rewards.budget(), 0);
        vm.warp(block.timestamp + EPOCH);
        delete accounts;
        account(bob, 1, MODEL, 100e18);
        refuse(RewardTypes.OverBudget.selector);
        accounts[0].delta = cap;
        assertEq(claim(epoch, 0), cap);
        assertEq(rewards.budget(), 0);
    }

    /// What is promised is not there for sales, and what sales took not for promises.
    function test_an_empty_grant_promises_nothing() public {
        RewardPool full = rewards;
        vm.startPrank(admin);
        newModelsAndRewards(admin, 0, CHALLENGE);
        token.transfer(address(rewards), 3e18);
        vm.stopPrank();
        assertTrue(full != rewards);
        for (uint256 i; i < 2; ++i) {
            address who = i == 0 ? bob : carol;
            vm.startPrank(who);
            token.approve(address(models), type(uint256).max);
            token.approve(address(stakes), type(uint256).max);
            stakes.stake(20e18);
            vm.stopPrank();
        }
        uint256 id = bought(bob);
        model();
        served(bob, MODEL, 1000e18);
        account(bob, 3e18 + 1, MODEL, 1000e18);
        refuse(RewardTypes.OverBudget.selector);
        accounts[0].delta = 2e18;
        uint256 epoch = propose();
        assertEq(rewards.budget(), 1e18);
        assertEq(rate(bob, id, 5), 1e18);
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(epoch, 0), 2e18);
        vm.prank(bob);
        assertEq(rewards.withdraw(), 3e18);
        assertEq(token.balanceOf(address(rewards)), 0);
    }

    // ------------------------------------------------------------------------------------------------ fraud

    function test_a_line_above_what_was_settled_voids_the_proposal() public {
        model();
        served(bob, MODEL, 100e18);
        served(carol, MODEL, 300e18);
        both(100e18 + 1e6, 300e18); // bob's line is false
        uint256 epoch = propose();
        uint256 i = accounts[0].payer == bob ? 0 : 1;
        vm.expectRevert(RewardTypes.NoFault.selector); // carol's is true
        challenge(dave, epoch, i ^ 1);
        challenge(dave, epoch, i);
        assertEq(uint8(rewards.epochs(epoch).state), uint8(RewardTypes.State.Void));
        assertEq(rewards.promised(), 0);
        assertEq(stakes.bound(carol, address(rewards)), 0);
        assertEq(stakes.credit(dave), STAKE / 2);
        vm.warp(block.timestamp + CHALLENGE);
        for (uint256 n; n < 2; ++n) {
            RewardTypes.Leaf memory l = leafOf(n);
            bytes32[] memory p = proof(n);
            vm.expectRevert(RewardTypes.NotProposed.selector);
            rewards.claim(epoch, l, p);
        }
        vm.expectRevert(RewardTypes.NotProposed.selector);
        rewards.finish(epoch);
        vm.expectRevert(RewardTypes.NotProposed.selector);
        challenge(dave, epoch, i);
    }

    function test_after_a_void_proposal_the_next_may_come_at_once() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 1, MODEL, 200e18);
        challenge(dave, propose(), 0);
        delete accounts;
        account(bob, due(100e18), MODEL, 100e18);
        uint256 epoch = propose();
        vm.warp(block.timestamp + CHALLENGE);
        assertEq(claim(epoch, 0), due(100e18));
    }

    /// A model that was never published, and an id that only shares a lane with one.
    function test_a_line_of_no_model_voids_the_proposal() public {
        model();
        served(bob, MODEL, 100e18);
        bytes32 twin = bytes32(uint256(MODEL) ^ (1 << 200));
        account(bob, 1, twin, 100e18);
        challenge(dave, propose(), 0);
        delete accounts;
        account(bob, 1, MODEL, 100e18);
        accounts[0].lines.push(RewardTypes.Line(bytes32(type(uint256).max), 0));
        uint256 epoch = propose();
        assertEq(rewards.falseLine(bob, accounts[0].lines), bytes32(type(uint256).max));
        challenge(dave, epoch, 0);
    }

    /// What somebody else settled on the lane, or the same payer elsewhere, is no cover.
    function test_a_line_counts_its_payers_settlements_only() public {
        model();
        served(carol, MODEL, 300e18);
        served(bob, OTHER, 300e18);
        account(bob, 1, MODEL, 1e18);
        challenge(dave, propose(), 0);
    }

    function test_challenge_refusals() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 1, MODEL, 200e18);
        uint256 epoch = propose();
        accounts[0].lines[0].upTo = 300e18; // another account than was proposed
        vm.expectRevert(RewardTypes.BadProof.selector);
        challenge(dave, epoch, 0);
        accounts[0].lines[0].upTo = 200e18;
        vm.expectRevert(RewardTypes.NotProposed.selector);
        challenge(dave, epoch + 1, 0);
        vm.warp(block.timestamp + CHALLENGE);
        vm.expectRevert(RewardTypes.TooLate.selector);
        challenge(dave, epoch, 0);
        // Too late for the proof, but a claim still pays no more than the delta that was within the budget.
        assertEq(claim(epoch, 0), 1);
    }

    function test_claims_and_the_stake_wait_for_the_window() public {
        model();
        served(bob, MODEL, 100e18);
        account(bob, 1, MODEL, 100e18);
        uint256 epoch = propose();
        vm.warp(block.timestamp + CHALLENGE - 1);
        RewardTypes.Leaf memory l = leafOf(0);
        bytes32[] memory p = proof(0);
        vm.expectRevert(RewardTypes.TooEarly.selector);
        rewards.claim(epoch, l, p);
        vm.expectRevert(RewardTypes.TooEarly.selector);
        rewards.finish(epoch);
        vm.warp(block.timestamp + 1);
        rewards.finish(epoch);
        vm.expectRevert(RewardTypes.NotProposed.selector);
        rewards.finish(epoch);
        assertEq(rewards.claim(epoch, l, p), 1); // also when it is finished
    }

    function refuseClaim(uint256 epoch, RewardTypes.Leaf memory l, bytes4 reason) internal {
        bytes32[] memory p = proof(0);
        vm.expectRevert(reason);
        rewards.claim(epoch, l, p);
    }

    function test_claim_refusals() public {
        model();
        served(bob, MODEL, 100e18);
        served(carol, MODEL, 100e18);
        both(100e18, 100e18);
        uint256 epoch = propose();
        vm.warp(block.timestamp + CHALLENGE);
        RewardTypes.Leaf memory l = leafOf(0);
        refuseClaim(epoch + 1, l, RewardTypes.NotProposed.selector);
        l.payer = dave;
        refuseClaim(epoch, l, RewardTypes.BadProof.selector);
        l = leafOf(0);
        l.delta += 1;
        refuseClaim(epoch, l, RewardTypes.BadProof.selector);
        l = leafOf(0);
        l.cumulative += 1;
        refuseClaim(epoch, l, RewardTypes.BadProof.selector);
        l = leafOf(0);
        l.index = 256; // another bit of the map
        refuseClaim(epoch, l, RewardTypes.BadProof.selector);
        l = leafOf(0);
        l.linesHash = 0;
        refuseClaim(epoch, l, RewardTypes.BadProof.selector);
        assertGt(claim(epoch, 0), 0);
        assertTrue(rewards.isClaimed(epoch, 0));
        assertFalse(rewards.isClaimed(epoch, 1));
        assertGt(claim(epoch, 1), 0);
    }

    /// Whoever calls his own model and rewards himself for it loses more than he gets.
    function testFuzz_serving_oneself_always_loses(uint96 amount) public {
        amount = uint96(bound(amount, 1, 9_000e18));
        model();
        uint256 wealth = token.balanceOf(alice) + token.balanceOf(bob);
        served(bob, MODEL, amount);
        if (due(amount) != 0) {
            account(bob, due(amount), MODEL, amount);
            uint256 epoch = propose();
            vm.warp(block.timestamp + CHALLENGE);
            claim(epoch, 0);
            vm.prank(bob);
            rewards.withdraw();
        }
        uint256 gained = token.balanceOf(alice) + token.balanceOf(bob) - wealth;
        assertLt(gained, models.feeOf(amount));
    }

    /// Any number of accounts: the root is what OpenZeppelin's proofs say, at each width.
    function test_every_account_of_a_wide_epoch_claims() public {
        model();
        uint256 n = 7;
        uint256 key = 1000;
        address[] memory payers = new address[](n);
        uint256[] memory keys = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            while (uint160(vm.addr(key)) >> 156 != i) ++key; // the first digit of the address is i: they ascend
            (payers[i], keys[i]) = (vm.addr(key), key);
        }
        bytes32[] memory level = new bytes32[](n);
        for (uint256 i; i < n; ++i) {
            fund(payers[i]);
            vm.prank(payers[i]);
            bank.deposit(payers[i], 1000e18);
            uint64 lane = models.laneOf(MODEL);
            models.settle(MODEL, one(voucher(keys[i], payers[i], address(models), lane, uint96(100e18 + i))));
            account(payers[i], due(100e18 + i), MODEL, uint96(100e18 + i));
            level[i] = hashOf(i);
        }
        uint256 epoch = propose();
        vm.warp(block.timestamp + CHALLENGE);
        for (uint256 i; i < n; ++i) {
            assertEq(rewards.claim(epoch, leafOf(i), Trees.path(level, i)), due(100e18 + i));
        }
        assertEq(rewards.promised(), 0);
    }

    // ------------------------------------------------------------------------------------------------ the grant

    function test_an_empty_grant_pays_nothing_but_the_rating_counts() public {
        vm.startPrank(admin);
        newModelsAndRewards(admin, 0, 0);
        token.transfer(address(rewards), 1e18);
        vm.stopPrank();
        uint256[2] memory ids = [bought(bob), bought(bob)];
        vm.startPrank(bob);
        assertEq(rewards.rewardSale(ids[0], 5, ITEM), 1e18);
        assertEq(rewards.rewardSale(ids[1], 5, ITEM), 0);
        assertEq(rewards.withdraw(), 1e18);
        vm.stopPrank();
        assertEq(token.balanceOf(address(rewards)), 0);
    }

    /// A pool with a vault of its own, which knows its address beforehand.
    function make(RewardTypes.Rules memory rules, bytes4 refusal) internal {
        address[] memory slashers = new address[](1);
        slashers[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        StakeVault vault = new StakeVault(IERC20(address(token)), 1, slashers);
        vm.expectRevert(refusal);
        new RewardPool(IERC20(address(token)), sale, bank, models, oracle, vault, rules);
    }

    function test_constructor_refusals() public {
        IERC20 t = IERC20(address(token));
        RewardTypes.Rules memory good = RewardTypes.Rules(ALPHA, BETA, STAKE, EPOCH, CHALLENGE);
        vm.expectRevert(RewardTypes.NotSlasher.selector); // the vault obeys another pool
        new RewardPool(t, sale, bank, models, oracle, stakes, good);
        make(RewardTypes.Rules(1e6, BETA, STAKE, EPOCH, CHALLENGE), RewardTypes.ShareTooHigh.selector);
        make(RewardTypes.Rules(ALPHA, 1e6, STAKE, EPOCH, CHALLENGE), RewardTypes.ShareTooHigh.selector);
        make(RewardTypes.Rules(ALPHA, BETA, STAKE, 0, CHALLENGE), RewardTypes.BadRules.selector); // no epochs
        make(RewardTypes.Rules(ALPHA, BETA, STAKE, 365 days + 1, CHALLENGE), RewardTypes.BadRules.selector);
        make(RewardTypes.Rules(ALPHA, BETA, STAKE, EPOCH, 365 days + 1), RewardTypes.BadRules.selector);
        make(good, RewardTypes.NotReporter.selector); // the oracle obeys another pool
    }

    function test_fund_adds_to_the_grant() public {
        vm.startPrank(bob);
        token.approve(address(rewards), 5e18);
        rewards.fund(5e18);
        vm.stopPrank();
        assertEq(token.balanceOf(address(rewards)), 1_000_000 * TOKEN + 5e18);
    }
}
