"""Holes in Directory."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("Directory", "a change counts at once", "if (block.timestamp < change.readyAt) revert TooEarly();"),
    Mutant(
        "Directory",
        "a change counts a second late",
        "block.timestamp < change.readyAt",
        "block.timestamp <= change.readyAt",
    ),
    Mutant(
        "Directory",
        "anybody schedules",
        "schedule(bytes32 name, address target) external onlyOwner",
        "schedule(bytes32 name, address target) external",
    ),
    Mutant("Directory", "anybody cancels", "cancel(bytes32 name) external onlyOwner", "cancel(bytes32 name) external"),
    Mutant(
        "Directory",
        "a change of mind keeps the old date",
        "_pending[name] = Change(target, readyAt);",
        "_pending[name] = Change(target, _pending[name].readyAt == 0 ? readyAt : _pending[name].readyAt);",
    ),
    Mutant(
        "Directory",
        "scheduling names at once",
        "emit Scheduled(name, target, readyAt);",
        "emit Scheduled(name, target, readyAt); _set(name, target);",
    ),
    Mutant(
        "Directory",
        "a cancelled change counts",
        "delete _pending[name];\n        emit Cancelled",
        "emit Cancelled",
    ),
    Mutant("Directory", "a change counts twice", "delete _pending[name];\n        _set", "_set"),
    Mutant("Directory", "nothing is enacted", "if (change.target == address(0)) revert NothingPending();"),
    Mutant("Directory", "a name for nobody", "if (target.code.length == 0) revert NotAContract();"),
    Mutant("Directory", "a contract without a name", "if (name == 0) revert NoName();"),
    Mutant("Directory", "a name is listed twice", "if (before == address(0)) _names.push(name);", "_names.push(name);"),
    Mutant("Directory", "a new name is not listed", "if (before == address(0)) _names.push(name);"),
    Mutant(
        "Directory", "a deployment names something twice", "if (_targets[names_[i]] != address(0)) revert NameTwice();"
    ),
    Mutant(
        "Directory",
        "a deployment with names left over",
        "if (names_.length != targets.length) revert LengthMismatch();",
    ),
]
