// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "./Base.sol";
import {EntryPause} from "../src/EntryPause.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

contract ModelRegistryTest is Base {
    bytes32 constant MODEL = keccak256("model");
    uint128 constant TOTAL = 1000;
    uint16 constant PUBLISHER_BPS = 2000;
    uint64[] internal datasets;
    address[4] internal heirs = [makeAddr("h0"), makeAddr("h1"), makeAddr("h2"), makeAddr("h3")];
    uint128[4] internal weights = [uint128(100), 200, 300, 400];

    function setUp() public override {
        super.setUp();
        datasets.push(register(alice, "root", 4));
        vm.prank(bob);
        bank.deposit(bob, 10_000e18);
    }

    function leaf(uint256 i, uint128 w) internal view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(i, heirs[i], w))));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function root() internal view returns (bytes32) {
        return pair(pair(leaf(0, weights[0]), leaf(1, weights[1])), pair(leaf(2, weights[2]), leaf(3, weights[3])));
    }

    function proof(uint256 i) internal view returns (bytes32[] memory p) {
        p = new bytes32[](2);
        p[0] = leaf(i ^ 1, weights[i ^ 1]);
        uint256 other = i < 2 ? 2 : 0;
        p[1] = pair(leaf(other, weights[other]), leaf(other + 1, weights[other + 1]));
    }

    function publish(bytes32 id, bytes32 weightsRoot, uint128 total) internal {
        vm.prank(alice);
        models.publish(id, weightsRoot, total, PUBLISHER_BPS, 1e15, datasets, hex"0155");
    }

    function pay(uint96 amount) internal {
        vm.prank(bob);
        models.pay(MODEL, amount);
    }

    function claim(uint256 i) internal returns (uint256) {
        return models.claim(MODEL, i, heirs[i], weights[i], proof(i));
    }

    function net(uint256 gross) internal view returns (uint256) {
        return gross - models.feeOf(gross);
    }

    // ------------------------------------------------------------------------------------------------ publish

    function test_publish_keeps_the_terms() public {
        publish(MODEL, root(), TOTAL);
        ModelRegistry.Model memory m = models.models(MODEL);
        assertEq(m.publisher, alice);
        assertEq(m.publisherBps, PUBLISHER_BPS);
        assertEq(m.weightsRoot, root());
        assertEq(m.totalWeight, TOTAL);
        assertEq(m.pricePerUnit, 1e15);
        assertEq(m.activeAt, block.timestamp + CHALLENGE);
        assertEq(models.modelOfLane(models.laneOf(MODEL)), MODEL);
    }

    function test_publish_refusals() public {
        publish(MODEL, root(), TOTAL);
        vm.startPrank(bob);
        vm.expectRevert(ModelRegistry.ModelExists.selector);
        models.publish(MODEL, "r", 1, 0, 0, datasets, "");
        bytes32 sameLane = bytes32(uint256(MODEL) ^ (1 << 200));
        vm.expectRevert(ModelRegistry.LaneTaken.selector);
        models.publish(sameLane, "r", 1, 0, 0, datasets, "");
        vm.expectRevert(ModelRegistry.ShareTooHigh.selector);
        models.publish("x", "r", 1, 10_001, 0, datasets, "");
        vm.expectRevert(ModelRegistry.NoWeights.selector);
        models.publish("x", "r", 0, 9_999, 0, datasets, "");
        vm.expectRevert(ModelRegistry.NoWeights.selector);
        models.publish("x", 0, 1, 9_999, 0, datasets, "");
        vm.expectRevert(ModelRegistry.CidTooLong.selector);
        models.publish("x", "r", 1, 0, 0, datasets, new bytes(129));
        vm.expectRevert(ModelRegistry.TooManyDatasets.selector);
        models.publish("x", "r", 1, 0, 0, new uint64[](257), "");
        datasets.push(77);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.DatasetNotActive.selector, 77));
        models.publish("x", "r", 1, 0, 0, datasets, "");
        vm.stopPrank();
        datasets.pop();
        vm.prank(alice);
        registry.revoke(datasets[0]);
        vm.expectRevert(abi.encodeWithSelector(ModelRegistry.DatasetNotActive.selector, datasets[0]));
        models.publish("x", "r", 1, 0, 0, datasets, "");
        vm.expectRevert(ModelRegistry.FeeTooHigh.selector);
        new ModelRegistry(IERC20(address(token)), bank, registry, 0, 1_001, guardian);
    }

    function test_pause_stops_publishing_and_nothing_else() public {
        publish(MODEL, root(), TOTAL);
        vm.prank(guardian);
        models.setEntryPaused(true);
        vm.expectRevert(EntryPause.EntryIsPaused.selector);
        models.publish("x", "r", 1, 0, 0, datasets, "");
        pay(100e18);
        vm.warp(block.timestamp + CHALLENGE);
        assertGt(claim(0), 0);
        assertGt(models.claimPublisher(MODEL), 0);
        models.burnFees();
    }

    function test_a_model_of_the_publisher_alone() public {
        vm.prank(alice);
        models.publish(MODEL, 0, 0, 10_000, 0, datasets, "");
        pay(100e18);
        assertEq(models.publisherDue(MODEL), net(100e18));
        assertEq(models.contributorDue(MODEL, 0, 1), 0);
    }

    // ------------------------------------------------------------------------------------------------ money in

    function test_settle_books_vouchers_on_the_models_lane() public {
        publish(MODEL, root(), TOTAL);
        uint64 lane = models.laneOf(MODEL);
        VoucherBank.Item[] memory items = one(voucher(bobKey, bob, address(models), lane, 40e18));
        assertEq(models.settle(MODEL, items), 40e18);
        assertEq(models.settle(MODEL, items), 0); // stale now
        assertEq(models.models(MODEL).received, net(40e18));
        assertEq(models.feesDue(), 1e18);
        assertEq(models.owedFor(MODEL), net(40e18));
        assertEq(token.balanceOf(address(models)), 40e18);
    }

    function test_settle_refusals() public {
        publish(MODEL, root(), TOTAL);
        publish("other", root(), TOTAL);
        uint64 lane = models.laneOf(MODEL);
        VoucherBank.Item[] memory items = one(voucher(bobKey, bob, address(models), lane, 40e18));
        vm.expectRevert(ModelRegistry.WrongLane.selector); // another model's revenue
        models.settle("other", items);
        vm.expectRevert(ModelRegistry.UnknownModel.selector);
        models.settle("nobody", items);
        items[0].cumulative += 1; // forged: skipped
        assertEq(models.settle(MODEL, items), 0);
        assertEq(models.models(MODEL).received, 0);
    }

    function test_pay_without_a_voucher() public {
        vm.expectRevert(ModelRegistry.UnknownModel.selector);
        pay(1e18);
        publish(MODEL, root(), TOTAL);
        pay(1e18);
        assertEq(models.models(MODEL).received, net(1e18));
        vm.expectRevert(); // dave has nothing
        vm.prank(dave);
        models.pay(MODEL, 1e18);
    }

    // ------------------------------------------------------------------------------------------------ money out

    function testFuzz_split_is_exact_and_leaves_only_dust(uint96 a, uint96 b) public {
        a = uint96(bound(a, 1, 100_000e18));
        b = uint96(bound(b, 1, 100_000e18));
        publish(MODEL, root(), TOTAL);
        vm.warp(block.timestamp + CHALLENGE);
        pay(a);
        for (uint256 i; i < 4; ++i) claim(i);
        pay(b);
        uint256 received = net(a) + net(b);
        uint256 pool = received - received * PUBLISHER_BPS / 10_000;
        uint256 sum;
        for (uint256 i; i < 4; ++i) {
            assertEq(models.contributorDue(MODEL, i, weights[i]) > 0, claim(i) > 0);
            assertEq(token.balanceOf(heirs[i]), pool * weights[i] / TOTAL);
            assertEq(claim(i), 0);
            sum += token.balanceOf(heirs[i]);
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

    function test_claims_wait_for_the_challenge_window() public {
        publish(MODEL, root(), TOTAL);
        pay(10e18);
        vm.expectRevert(ModelRegistry.NotYetActive.selector);
        models.claim(MODEL, 0, heirs[0], weights[0], proof(0));
        vm.warp(block.timestamp + CHALLENGE);
        assertGt(claim(0), 0);
    }

    function test_claim_refusals() public {
        publish(MODEL, root(), TOTAL);
        vm.warp(block.timestamp + CHALLENGE);
        pay(10e18);
        vm.expectRevert(ModelRegistry.UnknownModel.selector);
        models.claim("x", 0, heirs[0], weights[0], proof(0));
        vm.expectRevert(ModelRegistry.BadProof.selector); // a better weight
        models.claim(MODEL, 0, heirs[0], weights[0] + 1, proof(0));
        vm.expectRevert(ModelRegistry.BadProof.selector); // to somebody else
        models.claim(MODEL, 0, dave, weights[0], proof(0));
        vm.expectRevert(ModelRegistry.BadProof.selector); // a second index for the same leaf
        models.claim(MODEL, 1, heirs[0], weights[0], proof(0));
        vm.expectRevert(ModelRegistry.BadProof.selector);
        models.claim(MODEL, 0, heirs[0], weights[0], proof(2));
    }

    /// A publisher who promises more than there is cannot touch his neighbour's money or pay himself out of the contributors'.
    function test_a_false_root_cannot_pay_out_more_than_came_in() public {
        publish(MODEL, root(), TOTAL / 2); // the weights sum to twice the total
        publish("honest", root(), TOTAL);
        vm.warp(block.timestamp + CHALLENGE);
        pay(100e18);
        vm.prank(bob);
        models.pay("honest", 100e18);
        claim(3); // 80 %
        vm.expectRevert(ModelRegistry.WeightsExceedTotal.selector);
        models.claim(MODEL, 2, heirs[2], weights[2], proof(2));
        claim(0);
        ModelRegistry.Model memory m = models.models(MODEL);
        assertLe(m.paidOut, uint256(m.received) * 8_000 / 10_000);
        models.claimPublisher(MODEL);
        assertGe(token.balanceOf(address(models)), models.owedFor("honest") + models.feesDue());
    }

    function test_many_claims_in_one_transaction() public {
        publish(MODEL, root(), TOTAL);
        vm.warp(block.timestamp + CHALLENGE);
        pay(100e18);
        ModelRegistry.Share[] memory shares = new ModelRegistry.Share[](4);
        for (uint256 i; i < 4; ++i) shares[i] = ModelRegistry.Share(MODEL, i, heirs[i], weights[i], proof(i));
        uint256 total = models.claimMany(shares);
        assertEq(total, models.models(MODEL).paidOut);
        assertApproxEqAbs(total, net(100e18) * 8 / 10, 4);
    }

    function test_fees_burn() public {
        publish(MODEL, root(), TOTAL);
        pay(100e18);
        uint256 supply = token.totalSupply();
        models.burnFees();
        assertEq(supply - token.totalSupply(), 2.5e18);
        assertEq(models.feesBurnt(), 2.5e18);
        models.burnFees();
        assertEq(models.feesBurnt(), 2.5e18);
    }
}
