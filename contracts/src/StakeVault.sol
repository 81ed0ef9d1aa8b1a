// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Fees} from "./Fees.sol";

/// Stakes of those who say something that others may have to refute: publishers of weights, their challengers, proposers of
/// rewards. The immutable slashers (ModelRegistry, RewardPool) bind a part of a stake for as long as what was said can be
/// refuted; a slashed half goes to whoever refuted it, the other half is burnt, so slashing oneself costs half.
///
/// A slasher reaches only what it has bound itself, and binds only within a call of the staker's own. Nothing of a stake that
/// is not bound can be kept from its owner longer than the unbonding delay.
contract StakeVault {
    using SafeERC20 for IERC20;

    /// One slot. `free` may be bound or unbonded.
    struct Account {
        uint96 free;
        uint96 leaving;
        uint64 readyAt; // UTC seconds
    }

    uint256 public constant MAX_SLASHERS = 8;
    uint256 public constant MAX_DELAY = 365 days;

    IERC20 public immutable token;
    uint64 public immutable unbondingDelay; // seconds

    mapping(address slasher => bool) public isSlasher;
    mapping(address who => Account) public accounts;
    mapping(address who => mapping(address slasher => uint256)) public bound;
    mapping(address who => uint256) public credit; // from slashed stakes

    event Staked(address indexed who, uint256 amount);
    event Unbonding(address indexed who, uint256 amount, uint64 readyAt);
    event Withdrawn(address indexed who, uint256 amount);
    event Bound(address indexed who, address indexed slasher, uint256 amount);
    event Freed(address indexed who, address indexed slasher, uint256 amount);
    event Slashed(address indexed who, address indexed slasher, address indexed to, uint256 amount, uint256 burnt);

    error NotSlasher();
    error BadSlashers();
    error DelayTooLong();
    error NotEnough();
    error NotBound();

    constructor(IERC20 token_, uint64 unbondingDelay_, address[] memory slashers_) {
        if (slashers_.length == 0 || slashers_.length > MAX_SLASHERS) revert BadSlashers();
        if (unbondingDelay_ > MAX_DELAY) revert DelayTooLong();
        token = token_;
        unbondingDelay = unbondingDelay_;
        for (uint256 i; i < slashers_.length; ++i) isSlasher[slashers_[i]] = true;
    }

    modifier onlySlasher() {
        if (!isSlasher[msg.sender]) revert NotSlasher();
        _;
    }

    // ------------------------------------------------------------------------------------------------------ the staker

    function stake(uint96 amount) external {
        accounts[msg.sender].free += amount;
        emit Staked(msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// Takes a part out of the stake; it leaves after the delay. Asking again makes all of it wait anew.
    function unbond(uint96 amount) external {
        Account storage a = accounts[msg.sender];
        if (a.free < amount) revert NotEnough();
        a.free -= amount;
        a.leaving += amount;
        a.readyAt = uint64(block.timestamp) + unbondingDelay;
        emit Unbonding(msg.sender, amount, a.readyAt);
    }

    /// Pays what has unbonded, and what slashing others has earned.
    function withdraw() external returns (uint256 amount) {
        Account storage a = accounts[msg.sender];
        amount = credit[msg.sender];
        credit[msg.sender] = 0;
        if (block.timestamp >= a.readyAt) {
            amount += a.leaving;
            a.leaving = 0;
        }
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// What may be bound now.
    function available(address who) external view returns (uint256) {
        return accounts[who].free;
    }

    // ------------------------------------------------------------------------------------------------------ the slashers

    function bind(address who, uint96 amount) external onlySlasher {
        Account storage a = accounts[who];
        if (a.free < amount) revert NotEnough();
        a.free -= amount;
        bound[who][msg.sender] += amount;
        emit Bound(who, msg.sender, amount);
    }

    function free(address who, uint96 amount) external onlySlasher {
        _unbind(who, amount);
        accounts[who].free += amount;
        emit Freed(who, msg.sender, amount);
    }

    /// Half to `to`, half burnt; an odd unit burns.
    function slash(address who, uint96 amount, address to) external onlySlasher {
        _unbind(who, amount);
        uint256 reward = amount / 2;
        credit[to] += reward;
        emit Slashed(who, msg.sender, to, amount, amount - reward);
        Fees.burn(token, amount - reward);
    }

    function _unbind(address who, uint96 amount) private {
        uint256 held = bound[who][msg.sender];
        if (held < amount) revert NotBound();
        bound[who][msg.sender] = held - amount;
    }
}
