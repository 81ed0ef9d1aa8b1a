// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A guardian may stop *entry* (new offers, deposits, models). Nothing that settles, refunds or lets money out asks here.
abstract contract EntryPause {
    /// Zero means: nobody can ever pause.
    address public immutable guardian;
    bool public entryPaused;

    event EntryPauseSet(bool paused);

    error EntryIsPaused();
    error NotGuardian();

    constructor(address guardian_) {
        guardian = guardian_;
    }

    modifier whenEntryOpen() {
        if (entryPaused) revert EntryIsPaused();
        _;
    }

    function setEntryPaused(bool paused) external {
        if (msg.sender != guardian) revert NotGuardian();
        entryPaused = paused;
        emit EntryPauseSet(paused);
    }
}
