// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Trees} from "../Base.sol";
import {FlywheelHandler} from "./FlywheelHandler.sol";
import {ModelTypes} from "../../src/ModelTypes.sol";
import {VoucherBank} from "../../src/VoucherBank.sol";

/// Models over everybody's datasets, some built on others, called, paid, claimed, challenged, ruled or left to lapse.
abstract contract FlywheelModels is FlywheelHandler {
    uint256 internal constant MODELS = 6;
    uint256 private constant WHOLE = 1e6;

    VoucherBank internal bank;
    address internal arbiter;
    bytes32[] public modelIds;
    uint64[5] internal datasets; // of every model: 0, then the people's
    mapping(bytes32 model => uint32[5]) internal weightsOf;
    mapping(bytes32 model => uint256) public cameIn; // gross, from outside
    mapping(bytes32 model => uint256) public handedUp; // from children
    mapping(bytes32 model => uint256) public paidOut;

    function modelCount() external view returns (uint256) {
        return modelIds.length;
    }

    /// Own data up to the half, the rest half by facts and half at random: above the floor, whatever the numbers.
    function publish(uint256 who, uint32 own, uint32 skew, uint16 bps, uint16 parentBps, uint256 parent) external {
        if (modelIds.length == MODELS) return;
        for (uint256 i; i < PEOPLE; ++i) datasets[i + 1] = datasetOf[i];
        bytes32 id = keccak256(abi.encode(modelIds.length));
        uint32[5] storage w = weightsOf[id];
        w[0] = uint32(bound(own, 0, WHOLE / 2));
        uint256 shared = WHOLE - w[0];
        uint256 lucky = 1 + skew % PEOPLE;
        uint256 given;
        for (uint256 i = 1; i <= PEOPLE; ++i) {
            w[i] = uint32(shared / 2 * i ** 2 / 30); // records are 100, 400, 900, 1,600
            given += w[i];
        }
        w[lucky] += uint32(shared - given);
        ModelTypes.Terms memory t = ModelTypes.Terms(id, uint16(bound(bps, 0, 9_000)), 1, 0, 0, 0);
        t.childBps = uint16(bound(parentBps, 0, 2_500));
        if (modelIds.length != 0) {
            t.parent = modelIds[parent % modelIds.length];
            t.parentBps = uint16(bound(parentBps, s.models.models(t.parent).childBps, 5_000));
        }
        vm.prank(people[who % PEOPLE]);
        s.models.publish(t, ids(), weights(id), "");
        modelIds.push(id);
        ++done["publish"];
    }

    function call(uint256 who, uint256 which, uint96 more) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        uint64 lane = uint64(uint256(id));
        address payer = people[who % PEOPLE];
        (uint96 paid,,) = bank.lanes(payer, address(s.models), lane);
        uint96 cumulative = paid + uint96(bound(more, 1, 1e22));
        bytes32 h = keccak256(abi.encode(bank.VOUCHER_TYPEHASH(), payer, address(s.models), lane, cumulative));
        (uint8 v, bytes32 r, bytes32 sig) =
            vm.sign(keys[who % PEOPLE], keccak256(abi.encodePacked("\x19\x01", bank.domainSeparator(), h)));
        VoucherBank.Item[] memory items = new VoucherBank.Item[](1);
        items[0] = VoucherBank.Item(payer, lane, cumulative, r, bytes32(uint256(sig) | (uint256(v - 27) << 255)));
        cameIn[id] += s.models.settle(id, items);
        ++done["call"];
    }

    function pay(uint256 who, uint256 which, uint96 amount) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        amount = uint96(bound(amount, 1, 1e21));
        vm.prank(people[who % PEOPLE]);
        s.models.pay(id, amount);
        cameIn[id] += amount;
        ++done["pay"];
    }

    function claim(uint256 which, uint256 leaf) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        ModelTypes.Model memory m = s.models.models(id);
        if (m.phase == ModelTypes.Phase.Challenged || block.timestamp < m.activeAt) return;
        if (claimLeaf(id, leaf % 5) != 0) ++done["claim"];
    }

    function claimPublisher(uint256 which) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        uint256 amount = s.models.claimPublisher(id);
        paidOut[id] += amount;
        if (amount != 0) ++done["claimPublisher"];
    }

    function claimParent(uint256 which) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        uint256 amount = s.models.claimParent(id);
        paidOut[id] += amount;
        handedUp[s.models.models(id).parent] += amount;
        if (amount != 0) ++done["claimParent"];
    }

    // -------------------------------------------------------------------------------------------------- doubts

    function challengeModel(uint256 who, uint256 which) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        ModelTypes.Model memory m = s.models.models(id);
        uint256 i = who % PEOPLE;
        if (m.phase != ModelTypes.Phase.Staked || block.timestamp >= m.activeAt) return;
        if (s.stakes.available(people[i]) < s.models.challengeStake()) return;
        bytes32[] memory p = path(id, i + 1);
        vm.prank(people[i]);
        s.models.challenge(id, i + 1, datasets[i + 1], weightsOf[id][i + 1], p);
        ++done["challengeModel"];
    }

    function ruleModel(uint256 which, bool wrong) external {
        if (modelIds.length == 0) return;
        bytes32 id = modelIds[which % modelIds.length];
        (, uint64 until) = s.models.challenges(id);
        if (s.models.models(id).phase != ModelTypes.Phase.Challenged || block.timestamp > until) return;
        vm.prank(arbiter);
        s.models.rule(id, wrong, ids(), weights(id));
        ++slashes;
        ++done[wrong ? bytes32("ruleWrong") : bytes32("ruleRight")];
        if (!wrong) return;
        uint32[5] storage w = weightsOf[id];
        w[0] /= 2;
        uint256 upTo;
        uint256 given = w[0];
        for (uint256 i = 1; i <= PEOPLE; ++i) {
            upTo += i ** 2;
            uint256 to = w[0] + (WHOLE - w[0]) * upTo / 30;
            w[i] = uint32(to - given);
            given = to;
        }
    }

    /// Ends what time alone ends.
    function endDoubts(uint256 which) external {
        if (modelIds.length != 0) endDoubt(modelIds[which % modelIds.length]);
    }

    function endDoubt(bytes32 id) internal {
        ModelTypes.Model memory m = s.models.models(id);
        (, uint64 until) = s.models.challenges(id);
        if (m.phase == ModelTypes.Phase.Challenged && block.timestamp > until) {
            s.models.lapse(id);
            ++done["lapse"];
        } else if (m.phase == ModelTypes.Phase.Staked && block.timestamp >= m.activeAt) {
            s.models.release(id);
            ++done["release"];
        }
    }

    function claimLeaf(bytes32 id, uint256 i) internal returns (uint256 amount) {
        amount = s.models.claim(id, i, datasets[i], weightsOf[id][i], path(id, i));
        paidOut[id] += amount;
    }

    // -------------------------------------------------------------------------------------------------- lists

    function ids() private view returns (uint64[] memory list) {
        list = new uint64[](5);
        for (uint256 i; i < 5; ++i) list[i] = datasets[i];
    }

    function weights(bytes32 id) private view returns (uint32[] memory list) {
        list = new uint32[](5);
        for (uint256 i; i < 5; ++i) list[i] = weightsOf[id][i];
    }

    function path(bytes32 id, uint256 at) private view returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](5);
        for (uint256 i; i < 5; ++i) {
            leaves[i] = keccak256(bytes.concat(keccak256(abi.encode(i, datasets[i], weightsOf[id][i]))));
        }
        return Trees.path(leaves, at);
    }
}
