// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

interface IBurnable {
    function burn(uint256 amount) external;
}

/// The protocol's fee: a share of every paid price that leaves circulation. Nobody receives it, so nobody gains by trading
/// with himself; rewards on volume stay below it.
library Fees {
    using SafeERC20 for IERC20;

    uint256 internal constant BPS = 10_000;
    /// Where the fee goes when the settlement token cannot burn.
    address internal constant DEAD = 0x000000000000000000000000000000000000dEaD;

    /// Rounded up: against whoever trades, so that a price of one unit still burns one.
    function share(uint256 amount, uint256 bps) internal pure returns (uint256) {
        return (amount * bps + BPS - 1) / BPS;
    }

    function burn(IERC20 token, uint256 amount) internal {
        try IBurnable(address(token)).burn(amount) {}
        catch {
            token.safeTransfer(DEAD, amount);
        }
    }
}
