// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base, Trees} from "./Base.sol";
import {EntryPause} from "../src/EntryPause.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {ModelTypes} from "../src/ModelTypes.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {VoucherBank} from "../src/VoucherBank.sol";
import {Weights} from "../src/Weights.sol";

/// Weights as an outsider sees them: through calldata, as the library wants it.
contract WeightsView {
    function byFacts(ModelRegistry models, uint64[] calldata datasets, uint32[] calldata weights)
        external
        view
        returns (uint32[] memory)
    {
        return Weights.byFacts(models.registry(), datasets, weights);
    }
}

/// Alice publishes; h1, h2 and h3 own datasets 1, 2 and 3 of 100, 200 and 700 records of the same quality.
contract ModelRegistryTest is Base {
    bytes32 constant MODEL = keccak256("model");
    bytes32 constant CHILD = keccak256("child");
    uint16 constant PUBLISHER_BPS = 2000;
    uint32 constant WHOLE = 1_000_000;
    uint64[] internal datasets;
    uint32[] internal weights;
    address[4] internal heirs;

    function setUp() public override {
        super.setUp();
        heirs = [alice, makeAddr("h1"), makeAddr("h2"), makeAddr("h3")];
        registerRecords(heirs[1], 100);
        registerRecords(heirs[2], 200);
        registerRecords(heirs[3], 700);
        for (uint64 i; i < 4; ++i) datasets.push(i);
        split(100_000, 200_000, 300_000, 400_000);
        vm.startPrank(bob);
        bank.deposit(bob, 10_000e18);
        stakes.stake(100e18);
        vm.stopPrank();
        stakeOf(alice, 100e18);
    }

    function registerRecords(address owner, uint32 records) internal returns (uint64) {
        uint64[] memory none;
        vm.prank(owner);
        return registry.register("root", 4, records, REVIEWS, CC_BY, 0, 800_000, none, "");
    }

    function stakeOf(address who, uint96 amount) internal {
        vm.prank(admin);
        token.transfer(who, amount);
        vm.startPrank(who);
        token.approve(address(stakes), amount);
        stakes.stake(amount);
        vm.stopPrank();
    }

    function split(uint32 a, uint32 b, uint32 c, uint32 d) internal {
        weights = [a, b, c, d];
    }

    function terms(bytes32 id) internal pure returns (ModelTypes.Terms memory) {
        return ModelTypes.Terms(id, PUBLISHER_BPS, 1e15, 0, 0, 0);
    }

    function publish(ModelTypes.Terms memory t) internal {
        vm.prank(alice);
        models.publish(t, datasets, weights, hex"0155");
    }

    function publish() internal {
        publish(terms(MODEL));
    }

    function publishOpen() internal {
        publish();
        vm.warp(block.timestamp + CHALLENGE);
    }

    function leaf(uint256 i, uint32 w) internal view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(i, datasets[i], w))));
    }

    function root(uint32[] memory w) internal view returns (bytes32) {
        return Trees.pair(Trees.pair(leaf(0, w[0]), leaf(1, w[1])), Trees.pair(leaf(2, w[2]), leaf(3, w[3])));
    }

    function proof(uint256 i, uint32[] memory w) internal view returns (bytes32[] memory p) {
        p = new bytes32[](2);
        p[0] = leaf(i ^ 1, w[i ^ 1]);
        uint256 side = i < 2 ? 2 : 0;
        p[1] = Trees.pair(leaf(side, w[side]), leaf(side + 1, w[side + 1]));
    }

    function pay(bytes32 id, uint96 amount) internal {
        vm.prank(bob);
        models.pay(id, amount);
    }

    function claim(uint256 i) internal returns (uint256) {
        return models.claim(MODEL, i, datasets[i], weights[i], proof(i, weights));
    }

    function net(uint256 gross) internal view returns (uint256) {
        return gross - models.feeOf(gross);
    }

    function phase() internal view returns (ModelTypes.Phase) {
        return models.models(MODEL).phase;
    }

    // ------------------------------------------------------------------------------------------------ publish

    function test_publish_keeps_the_terms_and_computes_the_root() public {
        ModelTypes.Terms memory t = terms(MODEL);
        t.childBps = 700;
        publish(t);
        ModelTypes.Model memory m = models.models(MODEL);
        assertEq(m.publisher, alice);
        assertEq(m.publisherBps, PUBLISHER_BPS);
        assertEq(m.childBps, 700);
        assertEq(m.parent, 0);
        assertEq(m.weightsRoot, root(weights));
        assertEq(m.pricePerUnit, 1e15);
        assertEq(m.activeAt, block.timestamp + CHALLENGE);
        assertEq(models.modelOfLane(models.laneOf(MODEL)), MODEL);
        assertEq(stakes.bound(alice, address(models)), STAKE);
    }

    /// Every width up to nine: each leaf is proved by a tree built the way OpenZeppelin's proofs want it.
    function test_the_root_is_right_at_every_width() public {
        for (uint256 n = 1; n <= 9; ++n) {
            uint64[] memory ids = new uint64[](n);
            uint32[] memory w = new uint32[](n);
            bytes32[] memory level = new bytes32[](n);
            for (uint256 i; i < n; ++i) {
                ids[i] = registerRecords(alice, 100);
                w[i] = uint32(WHOLE / n);
                if (i == 0) w[i] += uint32(WHOLE % n);
                level[i] = keccak256(bytes.concat(keccak256(abi.encode(i, ids[i], w[i]))));
            }
            bytes32 id = bytes32(n);
            vm.prank(alice);
            models.publish(terms(id), ids, w, "");
            while (level.length > 1) {
                bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
                for (uint256 i; i < level.length; i += 2) {
                    above[i / 2] = i + 1 < level.length ? Trees.pair(level[i], level[i + 1]) : level[i];
                }
                level = above;
            }
            assertEq(models.models(id).weightsRoot, level[0]);
        }
    }

    function expectRefusal(bytes memory reason) internal {
        vm.expectRevert(reason);
        publish();
    }

    function refuse(bytes4 reason) internal {
        expectRefusal(abi.encodeWithSelector(reason));
    }

    function test_weights_are_whole_ascending_and_active() public {
        split(100_000, 200_000, 300_000, 399_999);
        refuse(Weights.WeightsNotWhole.selector);
        split(100_000, 200_000, 300_000, 400_001);
        refuse(Weights.WeightsNotWhole.selector);
        split(100_000, 200_000, 300_000, 400_000);
        datasets = [0, 1, 1, 3];
        refuse(Weights.DatasetsNotAscending.selector);
        datasets = [0, 2, 1, 3];
        refuse(Weights.DatasetsNotAscending.selector);
        datasets = [0, 1, 2, 4]; // never registered
        expectRefusal(abi.encodeWithSelector(Weights.DatasetNotActive.selector, 4));
        datasets = [0, 1, 2, 3];
        vm.prank(heirs[2]);
        registry.revoke(2);
        expectRefusal(abi.encodeWithSelector(Weights.DatasetNotActive.selector, 2));
        datasets.pop();
        refuse(Weights.NoWeights.selector);
        datasets = new uint64[](0);
        weights = new uint32[](0);
        refuse(Weights.NoWeights.selector);
    }

    function test_at_most_256_datasets() public {
        datasets = new uint64[](257);
        weights = new uint32[](257);
        refuse(Weights.TooManyDatasets.selector);
    }

    function test_own_unregistered_data_take_half_at_most_beside_others() public {
        split(500_001, 100_000, 100_000, 299_999);
        refuse(Weights.OwnWeightTooHigh.selector);
        split(500_000, 100_000, 100_000, 300_000);
        publish();
        publishAlone(alice, "alone", 3_000);
        assertEq(uint8(models.models("alone").phase), uint8(ModelTypes.Phase.Unstaked));
    }

    /// Facts 100 : 200 : 700 and nothing of the publisher's: a quarter of that is 25,000, 50,000, 175,000.
    function test_nobody_gets_less_than_a_quarter_of_his_share_by_facts() public {
        split(0, 24_999, 50_000, 925_001);
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, 1));
        split(0, 25_000, 49_999, 925_001);
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, 2));
        split(0, 400_000, 425_001, 174_999);
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, 3));
        split(0, 25_000, 50_000, 925_000);
        publish();
    }

    /// What the publisher's own data take is not part of the floor's whole.
    function test_the_floor_is_of_the_part_that_is_shared() public {
        split(400_000, 14_999, 30_000, 555_001);
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, 1));
        split(400_000, 15_000, 30_000, 555_000);
        publish();
    }

    function test_claimed_quality_counts_as_records_do() public {
        uint64[] memory none;
        vm.prank(dave);
        uint64 poor = registry.register("root", 4, 400, REVIEWS, CC_BY, 0, 200_000, none, ""); // as 100 of 800,000
        datasets = [1, poor];
        weights = [875_001, 124_999]; // a quarter of a half
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, poor));
        weights = [875_000, 125_000];
        publish();
    }

    /// A dataset that claims no quality counts its records, in ppm: no division by zero, no share for nothing.
    function test_datasets_without_quality() public {
        uint64[] memory none;
        vm.startPrank(dave);
        uint64 a = registry.register("root", 4, 1, REVIEWS, CC_BY, 0, 0, none, "");
        uint64 b = registry.register("root", 4, 3, REVIEWS, CC_BY, 0, 0, none, "");
        vm.stopPrank();
        datasets = [a, b];
        weights = [62_499, 937_501];
        expectRefusal(abi.encodeWithSelector(Weights.BelowFloor.selector, a));
        weights = [62_500, 937_500];
        publish();
    }

    function test_publish_refusals() public {
        ModelTypes.Terms memory t = terms(MODEL);
        vm.expectRevert(ModelTypes.CidTooLong.selector);
        models.publish(t, datasets, weights, new bytes(129));
        t.publisherBps = 9_001; // others have a part
        vm.expectRevert(ModelTypes.ShareTooHigh.selector);
        publish(t);
        t.publisherBps = 10_001;
        vm.expectRevert(ModelTypes.ShareTooHigh.selector);
        models.publish(t, one64(0), one32(WHOLE), "");
        t = terms(0);
        vm.expectRevert(ModelTypes.BadModelId.selector);
        publish(t);
        vm.prank(guardian);
        models.setEntryPaused(true);
        vm.expectRevert(EntryPause.EntryIsPaused.selector);
        publish();
    }

    function one64(uint64 value) internal pure returns (uint64[] memory list) {
        list = new uint64[](1);
        list[0] = value;
    }

    function one32(uint32 value) internal pure returns (uint32[] memory list) {
        list = new uint32[](1);
        list[0] = value;
    }

    function test_a_model_and_its_lane_are_published_once() public {
        publish();
        vm.expectRevert(ModelTypes.ModelExists.selector);
        publish();
        bytes32 twin = bytes32(uint256(MODEL) ^ (1 << 200));
        vm.expectRevert(ModelTypes.LaneTaken.selector);
        publish(terms(twin));
    }

    function test_a_publisher_without_a_stake_cannot_use_others_data() public {
        vm.expectRevert(StakeVault.NotEnough.selector);
        vm.prank(carol);
        models.publish(terms(MODEL), datasets, weights, "");
        publishAlone(carol, MODEL, 0); // his own data need none
        vm.prank(heirs[1]); // nor do those he registered
        models.publish(terms(CHILD), one64(1), one32(WHOLE), "");
        assertEq(stakes.bound(heirs[1], address(models)), 0);
    }

    /// Pausing stops publishing, nothing else.
    function test_a_pause_lets_everything_else_go_on() public {
        publish();
        pay(MODEL, 10e18);
        doubt(1);
        vm.prank(guardian);
        models.setEntryPaused(true);
        rule(false);
        vm.warp(block.timestamp + CHALLENGE);
        assertGt(claim(1), 0);
        assertGt(models.claimPublisher(MODEL), 0);
        models.burnFees();
    }

    // ------------------------------------------------------------------------------------------------ money in

    function test_settle_books_vouchers_on_the_models_lane() public {
        publish();
        VoucherBank.Item[] memory items =
            one(voucher(bobKey, bob, address(models), models.laneOf(MODEL), 40e18));
        assertEq(models.settle(MODEL, items), 40e18);
        assertEq(models.settle(MODEL, items), 0); // stale now
        assertEq(models.models(MODEL).received, net(40e18));
        assertEq(models.feesDue(), 1e18);
        assertEq(models.owedFor(MODEL), net(40e18));
        assertEq(token.balanceOf(address(models)), 40e18);
    }

    function test_settle_refusals() public {
        publish();
        publishAlone(alice, "other", 0);
        VoucherBank.Item[] memory items =
            one(voucher(bobKey, bob, address(models), models.laneOf(MODEL), 40e18));
        vm.expectRevert(ModelTypes.WrongLane.selector); // another model's revenue
        models.settle("other", items);
        vm.expectRevert(ModelTypes.UnknownModel.selector);
        models.settle("nobody", items);
        items[0].cumulative += 1; // forged: skipped
        assertEq(models.settle(MODEL, items), 0);
        assertEq(models.models(MODEL).received, 0);
    }

    function test_pay_without_a_voucher() public {
        vm.expectRevert(ModelTypes.UnknownModel.selector);
        pay(MODEL, 1e18);
        publish();
        pay(MODEL, 1e18);
        assertEq(models.models(MODEL).received, net(1e18));
        vm.expectRevert(); // dave has nothing
        vm.prank(dave);
        models.pay(MODEL, 1e18);
    }

    // ------------------------------------------------------------------------------------------------ money out

    function testFuzz_split_is_exact_and_leaves_only_dust(uint96 a, uint96 b) public {
        a = uint96(bound(a, 1, 100_000e18));
        b = uint96(bound(b, 1, 100_000e18));
        uint256 aliceHad = token.balanceOf(alice);
        publishOpen();
        pay(MODEL, a);
        for (uint256 i; i < 4; ++i) claim(i);
        pay(MODEL, b);
        uint256 received = net(a) + net(b);
        uint256 pool = received - received * PUBLISHER_BPS / 10_000;
        uint256 sum;
        for (uint256 i; i < 4; ++i) {
            assertEq(models.contributorDue(MODEL, i, weights[i]) > 0, claim(i) > 0);
            uint256 got = token.balanceOf(heirs[i]) - (i == 0 ? aliceHad : 0);
            assertEq(got, pool * weights[i] / WHOLE);
            assertEq(claim(i), 0);
            sum += got;
        }
        uint256 before = token.balanceOf(alice);
        vm.prank(dave);
        models.claimPublisher(MODEL);
        sum += token.balanceOf(alice) - before;
        assertEq(token.balanceOf(alice) - before, received * PUBLISHER_BPS / 10_000);
        assertEq(models.claimPublisher(MODEL), 0);
        assertLe(received - sum, 4); // less than one unit for each share
        assertEq(models.owedFor(MODEL), received - sum);
        models.burnFees();
        assertEq(token.balanceOf(address(models)), received - sum);
    }

    function test_a_share_goes_to_the_datasets_owner_and_0_to_the_publisher() public {
        publishOpen();
        pay(MODEL, 100e18);
        uint256 before = token.balanceOf(alice);
        vm.startPrank(dave); // anyone pushes
        assertEq(claim(0), token.balanceOf(alice) - before);
        assertEq(claim(2), token.balanceOf(heirs[2]));
        vm.stopPrank();
        assertEq(token.balanceOf(dave), 0);
    }

    /// Revoking a dataset stops new models; what was trained on it goes on to pay its owner.
    function test_a_revoked_dataset_still_earns() public {
        publishOpen();
        vm.prank(heirs[3]);
        registry.revoke(3);
        pay(MODEL, 100e18);
        assertGt(claim(3), 0);
        assertGt(token.balanceOf(heirs[3]), 0);
    }

    function test_claims_wait_for_the_challenge_window() public {
        publish();
        pay(MODEL, 10e18);
        vm.expectRevert(ModelTypes.NotYetActive.selector);
        models.claim(MODEL, 1, 1, weights[1], proof(1, weights));
        assertGt(models.claimPublisher(MODEL), 0); // not by the weights
        vm.warp(block.timestamp + CHALLENGE);
        assertGt(claim(1), 0);
    }

    function refuseClaim(bytes32 id, uint256 i, uint64 dataset, uint32 w, bytes32[] memory p, bytes4 reason) internal {
        vm.expectRevert(reason);
        models.claim(id, i, dataset, w, p);
    }

    function test_claim_refusals() public {
        publishOpen();
        pay(MODEL, 10e18);
        bytes32[] memory p = proof(1, weights);
        bytes4 bad = ModelTypes.BadProof.selector;
        refuseClaim("x", 1, 1, weights[1], p, ModelTypes.UnknownModel.selector);
        refuseClaim(MODEL, 1, 1, weights[1] + 1, p, bad); // a better weight
        refuseClaim(MODEL, 1, 2, weights[1], p, bad); // another dataset
        refuseClaim(MODEL, 0, 1, weights[1], p, bad); // a second index for the same leaf
        refuseClaim(MODEL, 1, 1, weights[1], proof(2, weights), bad);
        refuseClaim(MODEL, 1, 0, weights[1], p, bad); // to the publisher
    }

    function test_many_claims_in_one_transaction() public {
        publishOpen();
        pay(MODEL, 100e18);
        ModelTypes.Share[] memory shares = new ModelTypes.Share[](4);
        for (uint256 i; i < 4; ++i) {
            shares[i] = ModelTypes.Share(MODEL, i, datasets[i], weights[i], proof(i, weights));
        }
        uint256 total = models.claimMany(shares);
        assertEq(total, models.models(MODEL).paidOut);
        assertApproxEqAbs(total, net(100e18) * 8 / 10, 4);
    }

    function test_fees_burn() public {
        publish();
        pay(MODEL, 100e18);
        uint256 supply = token.totalSupply();
        models.burnFees();
        assertEq(supply - token.totalSupply(), 2.5e18);
        assertEq(models.feesBurnt(), 2.5e18);
        models.burnFees();
        assertEq(models.feesBurnt(), 2.5e18);
    }

    // ------------------------------------------------------------------------------------------------ parents

    function child(bytes32 id, bytes32 parent, uint16 parentBps, uint16 childBps) internal {
        ModelTypes.Terms memory t = ModelTypes.Terms(id, 1_000, 1, parent, parentBps, childBps);
        vm.prank(carol);
        models.publish(t, one64(0), one32(WHOLE), "");
    }

    function family() internal {
        ModelTypes.Terms memory t = terms(MODEL);
        t.childBps = 1_500;
        publish(t);
        child(CHILD, MODEL, 1_500, 0);
    }

    function test_a_child_gives_at_least_what_the_parent_asks_for() public {
        ModelTypes.Terms memory t = terms(MODEL);
        t.childBps = 1_500;
        publish(t);
        vm.expectRevert(ModelTypes.ParentShareTooLow.selector);
        child(CHILD, MODEL, 1_499, 0);
        vm.expectRevert(ModelTypes.UnknownModel.selector);
        child(CHILD, "nobody", 1_500, 0);
        vm.expectRevert(ModelTypes.UnknownModel.selector); // a share for nobody
        child(CHILD, 0, 1, 0);
        vm.expectRevert(ModelTypes.ShareTooHigh.selector);
        child(CHILD, MODEL, 5_001, 0);
        vm.expectRevert(ModelTypes.ShareTooHigh.selector);
        child(CHILD, MODEL, 1_500, 5_001);
        vm.expectRevert(ModelTypes.UnknownModel.selector); // its own parent
        child(CHILD, CHILD, 1_500, 0);
        child(CHILD, MODEL, 1_501, 0);
        assertEq(models.models(CHILD).parent, MODEL);
        assertEq(models.models(CHILD).parentBps, 1_501);
    }

    /// Fee first, then the parent, then the publisher, then the contributors; a grandparent gets his part of the part.
    function testFuzz_parents_share_comes_before_the_publishers(uint96 amount) public {
        amount = uint96(bound(amount, 1, 100_000e18));
        family();
        child("grandchild", CHILD, 2_000, 0);
        pay("grandchild", amount);
        uint256 first = net(amount) * 2_000 / 10_000;
        assertEq(models.parentDue("grandchild"), first);
        assertEq(models.publisherDue("grandchild"), (net(amount) - first) / 10);
        assertEq(models.claimParent("grandchild"), first);
        assertEq(models.claimParent("grandchild"), 0);
        assertEq(models.models(CHILD).received, first);
        uint256 second = first * 1_500 / 10_000;
        assertEq(models.claimParent(CHILD), second);
        assertEq(models.models(MODEL).received, second);
        assertEq(models.publisherDue(MODEL), second * PUBLISHER_BPS / 10_000);
        assertEq(models.feesDue(), models.feeOf(amount)); // burnt once, where it came in
        uint256 owed = models.owedFor("grandchild") + models.owedFor(CHILD) + models.owedFor(MODEL);
        assertEq(owed + models.feesDue(), token.balanceOf(address(models)));
    }

    function test_a_model_without_a_parent_hands_nothing_on() public {
        publish();
        pay(MODEL, 10e18);
        assertEq(models.parentDue(MODEL), 0);
        assertEq(models.claimParent(MODEL), 0);
        vm.expectRevert(ModelTypes.UnknownModel.selector);
        models.claimParent("nobody");
    }

    /// All that a model received leaves through its three doors, and nothing more.
    function testFuzz_three_doors_empty_a_model(uint96 a, uint96 b, uint16 parentBps, uint16 publisherBps) public {
        parentBps = uint16(bound(parentBps, 0, 5_000));
        publisherBps = uint16(bound(publisherBps, 0, 9_000));
        (a, b) = (uint96(bound(a, 1, 1e24)), uint96(bound(b, 1, 1e24)));
        publishAlone(carol, "parent", 0);
        ModelTypes.Terms memory t = ModelTypes.Terms(MODEL, publisherBps, 1, "parent", parentBps, 0);
        publish(t);
        vm.warp(block.timestamp + CHALLENGE);
        vm.prank(admin);
        token.transfer(bob, 3e24);
        for (uint256 round; round < 2; ++round) {
            pay(MODEL, round == 0 ? a : b);
            models.claimParent(MODEL);
            models.claimPublisher(MODEL);
            for (uint256 i; i < 4; ++i) claim(i);
            assertLe(models.owedFor(MODEL), 4);
        }
        ModelTypes.Model memory m = models.models(MODEL);
        uint256 received = net(a) + net(b);
        assertEq(m.parentPaid, received * parentBps / 10_000);
        assertEq(m.publisherPaid, (received - m.parentPaid) * publisherBps / 10_000);
    }

    // ------------------------------------------------------------------------------------------------ challenges

    function doubt(uint256 i) internal {
        stakeOf(heirs[i], STAKE);
        vm.prank(heirs[i]);
        models.challenge(MODEL, i, datasets[i], weights[i], proof(i, weights));
    }

    function rule(bool wrong) internal {
        vm.prank(arbiter);
        models.rule(MODEL, wrong, datasets, weights);
    }

    function test_a_challenge_binds_a_stake_and_stops_claims() public {
        publish();
        pay(MODEL, 10e18);
        doubt(1);
        (address challenger, uint64 until) = models.challenges(MODEL);
        assertEq(challenger, heirs[1]);
        assertEq(until, block.timestamp + RULING);
        assertEq(stakes.bound(heirs[1], address(models)), STAKE);
        assertEq(uint8(phase()), uint8(ModelTypes.Phase.Challenged));
        vm.warp(block.timestamp + CHALLENGE + 1);
        vm.expectRevert(ModelTypes.UnderChallenge.selector);
        models.claim(MODEL, 1, 1, weights[1], proof(1, weights));
        assertGt(models.claimPublisher(MODEL), 0); // not in doubt
    }

    function refuseChallenge(address who, uint256 i, uint64 dataset, uint32 w, bytes4 reason) internal {
        bytes32[] memory p = proof(i, weights);
        vm.expectRevert(reason);
        vm.prank(who);
        models.challenge(MODEL, i, dataset, w, p);
    }

    function test_challenge_refusals() public {
        refuseChallenge(heirs[1], 1, 1, weights[1], ModelTypes.UnknownModel.selector);
        publish();
        refuseChallenge(dave, 1, 1, weights[1], ModelTypes.NotOwner.selector);
        refuseChallenge(alice, 0, 0, weights[0], ModelTypes.NotOwner.selector); // nobody owns dataset 0
        refuseChallenge(heirs[1], 1, 1, weights[1], StakeVault.NotEnough.selector);
        stakeOf(heirs[1], STAKE);
        refuseChallenge(heirs[1], 1, 1, weights[1] + 1, ModelTypes.BadProof.selector);
        uint64 strange = registerRecords(heirs[1], 5); // a dataset that took no part
        refuseChallenge(heirs[1], 1, strange, weights[1], ModelTypes.BadProof.selector);
        doubt(2);
        refuseChallenge(heirs[1], 1, 1, weights[1], ModelTypes.NotChallengeable.selector);
    }

    function test_a_model_is_challenged_in_time_and_once() public {
        publish();
        stakeOf(heirs[1], STAKE);
        uint256 end = block.timestamp + CHALLENGE;
        vm.warp(end);
        refuseChallenge(heirs[1], 1, 1, weights[1], ModelTypes.TooLate.selector);
        vm.warp(end - 1);
        doubt(1);
        rule(false);
        refuseChallenge(heirs[1], 1, 1, weights[1], ModelTypes.NotChallengeable.selector);
    }

    function test_wrong_weights_become_the_facts_and_cost_the_publisher() public {
        publish();
        pay(MODEL, 100e18);
        doubt(3);
        uint256 supply = token.totalSupply();
        rule(true);
        // own data keep half of 100,000; the rest 1 : 2 : 7
        uint32[] memory ruled = new uint32[](4);
        (ruled[0], ruled[1], ruled[2], ruled[3]) = (50_000, 95_000, 190_000, 665_000);
        assertEq(models.models(MODEL).weightsRoot, root(ruled));
        assertEq(stakes.bound(alice, address(models)), 0);
        assertEq(stakes.available(alice), 90e18);
        assertEq(stakes.credit(heirs[3]), STAKE / 2);
        assertEq(stakes.available(heirs[3]), STAKE);
        assertEq(supply - token.totalSupply(), STAKE / 2);
        vm.warp(block.timestamp + CHALLENGE);
        vm.expectRevert(ModelTypes.BadProof.selector); // the published weights are gone
        models.claim(MODEL, 3, 3, weights[3], proof(3, weights));
        bytes32[] memory p = proof(3, ruled);
        assertEq(models.claim(MODEL, 3, 3, ruled[3], p), net(100e18) * 8 / 10 * 665_000 / WHOLE);
    }

    function test_right_weights_stand_and_cost_the_challenger() public {
        publish();
        pay(MODEL, 100e18);
        bytes32 before = models.models(MODEL).weightsRoot;
        doubt(3);
        rule(false);
        assertEq(models.models(MODEL).weightsRoot, before);
        assertEq(stakes.credit(alice), STAKE / 2);
        assertEq(stakes.available(alice), 100e18);
        assertEq(stakes.available(heirs[3]), 0);
        assertEq(stakes.bound(heirs[3], address(models)), 0);
        vm.warp(block.timestamp + CHALLENGE);
        assertGt(claim(3), 0);
    }

    function test_a_ruling_in_the_window_does_not_open_claims_early() public {
        publish();
        pay(MODEL, 10e18);
        doubt(1);
        rule(false);
        vm.expectRevert(ModelTypes.NotYetActive.selector);
        models.claim(MODEL, 1, 1, weights[1], proof(1, weights));
    }

    function test_ruling_refusals() public {
        vm.startPrank(arbiter);
        vm.expectRevert(ModelTypes.UnknownModel.selector);
        models.rule(MODEL, true, datasets, weights);
        vm.stopPrank();
        publish();
        vm.expectRevert(ModelTypes.NotChallenged.selector);
        rule(true);
        doubt(1);
        address[3] memory strangers = [alice, heirs[1], admin];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(ModelTypes.NotArbiter.selector);
            vm.prank(strangers[i]);
            models.rule(MODEL, true, datasets, weights);
        }
        uint32[] memory other = new uint32[](4);
        (other[0], other[1], other[2], other[3]) = (0, 0, 0, WHOLE);
        vm.startPrank(arbiter); // he cannot bring a list of his own
        vm.expectRevert(ModelTypes.WrongWeights.selector);
        models.rule(MODEL, true, datasets, other);
        vm.expectRevert(ModelTypes.WrongWeights.selector);
        models.rule(MODEL, false, datasets, other);
        vm.stopPrank();
        rule(true);
        vm.expectRevert(ModelTypes.NotChallenged.selector);
        rule(true);
    }

    function test_a_silent_arbiter_harms_nobody() public {
        publish();
        pay(MODEL, 10e18);
        bytes32 before = models.models(MODEL).weightsRoot;
        doubt(1);
        vm.warp(block.timestamp + RULING);
        vm.expectRevert(ModelTypes.StillRuling.selector);
        models.lapse(MODEL);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(ModelTypes.TooLate.selector);
        rule(true);
        vm.prank(dave);
        models.lapse(MODEL);
        vm.expectRevert(ModelTypes.NotChallenged.selector);
        models.lapse(MODEL);
        assertEq(models.models(MODEL).weightsRoot, before);
        assertEq(stakes.available(alice), 100e18);
        assertEq(stakes.available(heirs[1]), STAKE);
        assertGt(claim(1), 0);
    }

    function test_an_undoubted_stake_goes_home() public {
        publish();
        vm.expectRevert(ModelTypes.StillChallengeable.selector);
        models.release(MODEL);
        vm.warp(block.timestamp + CHALLENGE);
        models.release(MODEL);
        assertEq(stakes.available(alice), 100e18);
        vm.expectRevert(ModelTypes.NotChallengeable.selector);
        models.release(MODEL);
        publishAlone(alice, CHILD, 0);
        vm.expectRevert(ModelTypes.NotChallengeable.selector);
        models.release(CHILD);
    }

    function test_a_challenged_models_stake_is_not_released() public {
        publish();
        doubt(1);
        vm.warp(block.timestamp + CHALLENGE);
        vm.expectRevert(ModelTypes.NotChallengeable.selector);
        models.release(MODEL);
    }

    function test_without_an_arbiter_or_a_window_nobody_stakes() public {
        uint96 before = uint96(stakes.available(alice));
        for (uint256 i; i < 2; ++i) {
            ModelTypes.Rules memory rules =
                ModelTypes.Rules(i == 0 ? CHALLENGE : 0, RULING, STAKE, FEE_BPS, i == 0 ? address(0) : arbiter);
            models = new ModelRegistry(IERC20(address(token)), bank, registry, stakes, rules, guardian);
            publish();
            assertEq(uint8(phase()), uint8(ModelTypes.Phase.Unstaked));
            assertEq(stakes.available(alice), before);
            vm.prank(bob);
            token.approve(address(models), type(uint256).max);
            pay(MODEL, 10e18);
            refuseChallenge(heirs[1], 1, 1, weights[1], ModelTypes.NotChallengeable.selector);
            vm.warp(block.timestamp + (i == 0 ? CHALLENGE : 0));
            assertGt(claim(1), 0);
        }
    }

    function test_constructor_refusals() public {
        IERC20 erc20 = IERC20(address(token));
        ModelTypes.Rules memory rules = ModelTypes.Rules(CHALLENGE, RULING, STAKE, FEE_BPS, arbiter);
        vm.expectRevert(ModelTypes.NotSlasher.selector); // the vault obeys another registry
        new ModelRegistry(erc20, bank, registry, stakes, rules, guardian);
        rules = ModelTypes.Rules(CHALLENGE, RULING, STAKE, 1_001, address(0));
        vm.expectRevert(ModelTypes.FeeTooHigh.selector);
        new ModelRegistry(erc20, bank, registry, stakes, rules, guardian);
        address[] memory slashers = new address[](1);
        slashers[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        StakeVault vault = new StakeVault(erc20, UNBONDING, slashers);
        for (uint256 i; i < 2; ++i) {
            (uint64 long, uint64 short) = (365 days + 1, 365 days);
            rules = ModelTypes.Rules(i == 0 ? long : short, i == 0 ? short : long, STAKE, FEE_BPS, address(0));
            vm.expectRevert(ModelTypes.BadRules.selector);
            new ModelRegistry(erc20, bank, registry, vault, rules, guardian);
        }
        slashers[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        vault = new StakeVault(erc20, UNBONDING, slashers);
        rules = ModelTypes.Rules(CHALLENGE, 0, STAKE, FEE_BPS, arbiter);
        vm.expectRevert(ModelTypes.BadRules.selector); // no time to rule
        new ModelRegistry(erc20, bank, registry, vault, rules, guardian);
    }

    /// Whatever the facts and weights: the ruled weights are whole, and each is its share by facts to the unit.
    function testFuzz_ruled_weights_are_whole(uint32[5] memory records, uint24[5] memory quality, uint32 own) public {
        WeightsView view_ = new WeightsView();
        uint64[] memory ids = new uint64[](6);
        uint32[] memory w = new uint32[](6);
        w[0] = uint32(bound(own, 0, 500_000));
        uint256 all;
        uint256[6] memory facts;
        uint64[] memory none;
        for (uint256 i; i < 5; ++i) {
            uint32 n = uint32(bound(records[i], 1, type(uint32).max));
            uint32 q = uint32(bound(quality[i], 0, WHOLE));
            ids[i + 1] = registry.register("root", 4, n, REVIEWS, CC_BY, 0, q, none, "");
            facts[i + 1] = uint256(n) * (q == 0 ? 1 : q);
            all += facts[i + 1];
        }
        uint32[] memory ruled = view_.byFacts(models, ids, w);
        assertEq(ruled[0], w[0] / 2);
        uint256 sum = ruled[0];
        for (uint256 i = 1; i < 6; ++i) {
            sum += ruled[i];
            assertApproxEqAbs(ruled[i], (WHOLE - ruled[0]) * facts[i] / all, 1);
        }
        assertEq(sum, WHOLE);
    }

    /// The numbers that tests/unit/protocols/test_weights.py mirrors.
    function test_vectors_of_the_python_mirror() public {
        publish();
        assertEq(models.models(MODEL).weightsRoot, 0xbc36ffbe722870adab3cdaaebc438e3e3819c1a7b5e8d37e8f75b03f2733120c);
    }
}
