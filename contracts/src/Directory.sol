// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

/// Which contract a name stands for now: where a network says that its next version is another contract. It only names; no
/// money contract reads it, and a node that follows it does so by its owner's choice. A change is announced `delay` before it
/// counts, so that everybody can look at the new contract, and leave the old one, in time.
contract Directory is Ownable2Step {
    /// One slot.
    struct Change {
        address target;
        uint64 readyAt; // UTC seconds
    }

    uint64 public immutable delay; // seconds

    mapping(bytes32 name => address) private _targets;
    mapping(bytes32 name => Change) private _pending;
    bytes32[] private _names;

    event Scheduled(bytes32 indexed name, address indexed target, uint64 readyAt);
    event Cancelled(bytes32 indexed name, address indexed target);
    event Named(bytes32 indexed name, address indexed target, address indexed before);

    error LengthMismatch();
    error NoName();
    error NameTwice();
    error NotAContract();
    error NothingPending();
    error TooEarly();

    constructor(address admin, uint64 delay_, bytes32[] memory names_, address[] memory targets) Ownable(admin) {
        if (names_.length != targets.length) revert LengthMismatch();
        delay = delay_;
        for (uint256 i; i < names_.length; ++i) {
            _require(names_[i], targets[i]);
            if (_targets[names_[i]] != address(0)) revert NameTwice();
            _set(names_[i], targets[i]);
        }
    }

    /// Announces that `name` will stand for `target`. Another change of that name waiting to be enacted is replaced, and the
    /// waiting begins anew.
    function schedule(bytes32 name, address target) external onlyOwner {
        _require(name, target);
        uint64 readyAt = uint64(block.timestamp) + delay;
        _pending[name] = Change(target, readyAt);
        emit Scheduled(name, target, readyAt);
    }

    function cancel(bytes32 name) external onlyOwner {
        address target = _waiting(name).target;
        delete _pending[name];
        emit Cancelled(name, target);
    }

    /// Anyone, once the delay has passed. (`apply` is a word that Solidity keeps for itself.)
    function enact(bytes32 name) external {
        Change memory change = _waiting(name);
        if (block.timestamp < change.readyAt) revert TooEarly();
        delete _pending[name];
        _set(name, change.target);
    }

    /// Zero for a name that is not in use.
    function lookup(bytes32 name) external view returns (address) {
        return _targets[name];
    }

    function pending(bytes32 name) external view returns (address target, uint64 readyAt) {
        Change memory change = _pending[name];
        return (change.target, change.readyAt);
    }

    function names() external view returns (bytes32[] memory) {
        return _names;
    }

    function _require(bytes32 name, address target) private view {
        if (name == 0) revert NoName();
        if (target.code.length == 0) revert NotAContract();
    }

    function _waiting(bytes32 name) private view returns (Change memory change) {
        change = _pending[name];
        if (change.target == address(0)) revert NothingPending();
    }

    function _set(bytes32 name, address target) private {
        address before = _targets[name];
        if (before == address(0)) _names.push(name);
        _targets[name] = target;
        emit Named(name, target, before);
    }
}
