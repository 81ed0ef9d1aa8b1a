// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Trees} from "../Base.sol";
import {FlywheelModels} from "./FlywheelModels.sol";
import {FlywheelHandler} from "./FlywheelHandler.sol";
import {RewardTypes} from "../../src/RewardTypes.sol";
import {VoucherBank} from "../../src/VoucherBank.sol";

/// Epochs of rewards, some of them with a false line, and a watcher who refutes those in time, as any node would.
contract FlywheelRewards is FlywheelModels {
    struct Proposal {
        bool isVoid;
        uint256 suspect; // the account with the false line, in a proposal that was made with one
    }

    Proposal[] internal proposals; // proposals[i] is epoch i + 1
    mapping(uint256 epoch => RewardTypes.Account[]) internal accountsOf;
    uint256 public trueAccountRefuted;
    mapping(address payer => uint256) public laneRewards; // credited by claims, counted here

    constructor(Suite memory suite, VoucherBank bank_, address arbiter_) FlywheelHandler(suite) {
        (bank, arbiter) = (bank_, arbiter_);
    }

    /// Everybody who ever settled on a lane, with what is new, or a part of it where the budget is short.
    function propose(uint256 who, bool isFalse, uint96 excess) external {
        if (block.timestamp < s.rewards.nextProposalAt()) return;
        address proposer = people[who % PEOPLE];
        if (s.stakes.available(proposer) < s.rewards.proposerStake()) return;
        s.sale.burnFees();
        s.models.burnFees();
        uint256 left = s.rewards.budget();
        RewardTypes.Account[] storage accounts = accountsOf[proposals.length + 1];
        delete accountsOf[proposals.length + 1];
        for (uint256 i; i < PEOPLE && left != 0; ++i) left -= addAccount(accounts, people[i], left, isFalse, excess);
        if (accounts.length == 0) return;
        vm.prank(proposer);
        s.rewards.propose(accounts, keccak256("evidence"));
        // The last account has the excess, if there is one.
        proposals.push(Proposal(false, accounts.length - 1));
        ++done[isFalse ? bytes32("proposeFalse") : bytes32("propose")];
    }

    function challengeEpoch(uint256 which, uint256 account) external {
        if (proposals.length == 0) return;
        uint256 epoch = 1 + which % proposals.length;
        if (proposals[epoch - 1].isVoid || block.timestamp >= s.rewards.epochs(epoch).readyAt) return;
        refute(epoch, account % accountsOf[epoch].length);
    }

    function claimEpoch(uint256 which, uint256 account) external {
        if (proposals.length == 0) return;
        uint256 epoch = 1 + which % proposals.length;
        uint256 i = account % accountsOf[epoch].length;
        if (proposals[epoch - 1].isVoid || block.timestamp < s.rewards.epochs(epoch).readyAt) return;
        if (s.rewards.isClaimed(epoch, i)) return;
        uint256 amount = s.rewards.claim(epoch, leafOf(epoch, i), pathOf(epoch, i));
        laneRewards[accountsOf[epoch][i].payer] += amount;
        ++done["claimEpoch"];
        if (amount != 0) ++done["rewardedLane"];
    }

    function finish(uint256 which) external {
        if (proposals.length != 0) finishEpoch(1 + which % proposals.length);
    }

    /// Nobody lets a false proposal pass its window.
    function wait(uint256 hours_) external {
        watch();
        vm.warp(block.timestamp + bound(hours_, 1, 60) * 1 hours);
        ++done["wait"];
    }

    /// Time passes, and everybody takes home what is his: nothing may be in the way.
    function leave() external {
        watch();
        vm.warp(block.timestamp + 4 days);
        for (uint256 i; i < proposals.length; ++i) finishEpoch(i + 1);
        for (uint256 i = modelIds.length; i > 0; --i) { // children before their parents
            bytes32 id = modelIds[i - 1];
            endDoubt(id);
            s.models.claimParent(id);
            s.models.claimPublisher(id);
            for (uint256 leaf; leaf < 5; ++leaf) claimLeaf(id, leaf);
        }
        for (uint256 i; i < PEOPLE; ++i) {
            uint96 free = uint96(s.stakes.available(people[i]));
            vm.prank(people[i]);
            s.stakes.unbond(free);
        }
        vm.warp(block.timestamp + s.stakes.unbondingDelay());
        for (uint256 i; i < PEOPLE; ++i) {
            vm.startPrank(people[i]);
            s.stakes.withdraw();
            s.rewards.withdraw();
            vm.stopPrank();
        }
    }

    // -------------------------------------------------------------------------------------------------- private

    function watch() private {
        for (uint256 i; i < proposals.length; ++i) {
            Proposal memory p = proposals[i];
            if (!p.isVoid && block.timestamp < s.rewards.epochs(i + 1).readyAt) refute(i + 1, p.suspect);
        }
    }

    function refute(uint256 epoch, uint256 i) private {
        Proposal storage p = proposals[epoch - 1];
        bool guilty = lies(epoch, i);
        bytes32[] memory path_ = pathOf(epoch, i);
        vm.prank(people[0]);
        try s.rewards.challenge(epoch, i, accountsOf[epoch][i], path_) {
            if (!guilty) ++trueAccountRefuted;
            p.isVoid = true;
            ++slashes;
            ++done["challengeEpoch"];
        } catch {
            assert(!guilty);
            ++done["noFault"];
        }
    }

    /// What was a lie may have come true: the payer went on calling.
    function lies(uint256 epoch, uint256 i) private view returns (bool) {
        RewardTypes.Account memory a = accountsOf[epoch][i];
        for (uint256 n; n < a.lines.length; ++n) {
            (uint96 paid,,) = bank.lanes(a.payer, address(s.models), uint64(uint256(a.lines[n].modelId)));
            if (a.lines[n].upTo > paid) return true;
        }
        return false;
    }

    function finishEpoch(uint256 epoch) private {
        RewardTypes.Epoch memory e = s.rewards.epochs(epoch);
        if (e.state != RewardTypes.State.Proposed || block.timestamp < e.readyAt) return;
        s.rewards.finish(epoch);
        ++done["finish"];
    }

    function addAccount(
        RewardTypes.Account[] storage accounts,
        address payer,
        uint256 left,
        bool isFalse,
        uint96 excess
    ) private returns (uint256 delta) {
        RewardTypes.Account storage a = accounts.push();
        uint256 sum = addLines(a, payer);
        // Only the last of the people lies, so that his account is the last one of the list.
        if (isFalse && payer == people[PEOPLE - 1] && a.lines.length != 0) {
            uint96 more = uint96(bound(excess, 1e6, 1e22));
            a.lines[0].upTo += more;
            sum += more;
        } else if (isFalse && payer == people[PEOPLE - 1]) {
            a.lines.push(RewardTypes.Line(keccak256("no model"), 1e22));
            sum += 1e22;
        }
        (a.payer, a.cumulative) = (payer, uint96(s.rewards.entitlement(sum)));
        uint256 had = s.rewards.claimed(payer);
        delta = a.cumulative > had ? a.cumulative - had : 0;
        if (delta > left) delta = left;
        // Keep some for the liar: a proposal whose lie is not in it would be an honest one.
        if (isFalse && payer != people[PEOPLE - 1] && delta > left / 2) delta = left / 2;
        a.delta = uint96(delta);
        if (delta == 0) accounts.pop();
    }

    /// One line a model that the payer has settled on, ascending.
    function addLines(RewardTypes.Account storage a, address payer) private returns (uint256 sum) {
        bytes32 last;
        for (uint256 n; n < modelIds.length; ++n) {
            bytes32 next = bytes32(type(uint256).max);
            for (uint256 i; i < modelIds.length; ++i) if (modelIds[i] > last && modelIds[i] < next) next = modelIds[i];
            (uint96 paid,,) = bank.lanes(payer, address(s.models), uint64(uint256(next)));
            if (paid != 0) a.lines.push(RewardTypes.Line(next, paid));
            sum += paid;
            last = next;
        }
    }

    function leafOf(uint256 epoch, uint256 i) private view returns (RewardTypes.Leaf memory) {
        RewardTypes.Account memory a = accountsOf[epoch][i];
        return RewardTypes.Leaf(i, a.payer, a.cumulative, a.delta, keccak256(abi.encode(a.lines)));
    }

    function pathOf(uint256 epoch, uint256 at) private view returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](accountsOf[epoch].length);
        for (uint256 i; i < leaves.length; ++i) {
            RewardTypes.Leaf memory l = leafOf(epoch, i);
            leaves[i] =
                keccak256(bytes.concat(keccak256(abi.encode(l.index, l.payer, l.cumulative, l.delta, l.linesHash))));
        }
        return Trees.path(leaves, at);
    }
}
