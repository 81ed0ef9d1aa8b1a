// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {SchwungToken} from "../src/SchwungToken.sol";

contract SchwungTokenTest is Base {
    bytes32 constant NONCE = keccak256("nonce");

    function sign(uint256 key, bytes32 h) internal view returns (uint8, bytes32, bytes32) {
        return vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), h)));
    }

    function authorization(bytes32 typehash, address to, uint256 value, uint256 from, uint256 until)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(typehash, bob, to, value, from, until, NONCE));
    }

    function test_supply_is_fixed_and_fits_uint96() public {
        assertEq(token.totalSupply(), token.balanceOf(admin) + 3 * 1_000_000 * TOKEN + 1_000_000 * TOKEN);
        vm.expectRevert(SchwungToken.SupplyTooLarge.selector);
        new SchwungToken(admin, uint256(1) << 96);
        assertEq(new SchwungToken(admin, type(uint96).max).totalSupply(), type(uint96).max);
    }

    function test_burn_lowers_the_supply() public {
        uint256 supply = token.totalSupply();
        vm.prank(bob);
        token.burn(5);
        assertEq(token.totalSupply(), supply - 5);
    }

    function test_transfer_with_authorization_once() public {
        bytes32 h = authorization(token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(), dave, 7, 0, type(uint256).max);
        (uint8 v, bytes32 r, bytes32 s) = sign(bobKey, h);
        vm.expectRevert(SchwungToken.InvalidAuthorization.selector);
        token.transferWithAuthorization(bob, dave, 8, 0, type(uint256).max, NONCE, v, r, s);
        token.transferWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
        assertEq(token.balanceOf(dave), 7);
        assertTrue(token.authorizationState(bob, NONCE));
        vm.expectRevert(SchwungToken.AuthorizationAlreadyUsed.selector);
        token.transferWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
    }

    function test_authorization_holds_between_its_times_only() public {
        uint256 t = block.timestamp;
        bytes32 h = authorization(token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(), dave, 7, t, t + 10);
        (uint8 v, bytes32 r, bytes32 s) = sign(bobKey, h);
        vm.expectRevert(SchwungToken.AuthorizationNotYetValid.selector);
        token.transferWithAuthorization(bob, dave, 7, t, t + 10, NONCE, v, r, s);
        vm.warp(t + 10);
        vm.expectRevert(SchwungToken.AuthorizationExpired.selector);
        token.transferWithAuthorization(bob, dave, 7, t, t + 10, NONCE, v, r, s);
        vm.warp(t + 9);
        token.transferWithAuthorization(bob, dave, 7, t, t + 10, NONCE, v, r, s);
    }

    function test_receive_with_authorization_by_the_payee_only() public {
        bytes32 h = authorization(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), dave, 7, 0, type(uint256).max);
        (uint8 v, bytes32 r, bytes32 s) = sign(bobKey, h);
        vm.expectRevert(SchwungToken.CallerIsNotPayee.selector);
        token.receiveWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
        vm.startPrank(dave);
        vm.expectRevert(SchwungToken.InvalidAuthorization.selector); // signed for the other function
        token.transferWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
        token.receiveWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
        vm.stopPrank();
        assertEq(token.balanceOf(dave), 7);
    }

    function test_a_cancelled_authorization_is_dead() public {
        bytes32 h = authorization(token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(), dave, 7, 0, type(uint256).max);
        (uint8 v, bytes32 r, bytes32 s) = sign(bobKey, h);
        (uint8 cv, bytes32 cr, bytes32 cs) =
            sign(bobKey, keccak256(abi.encode(token.CANCEL_AUTHORIZATION_TYPEHASH(), bob, NONCE)));
        vm.expectRevert(SchwungToken.InvalidAuthorization.selector);
        token.cancelAuthorization(carol, NONCE, cv, cr, cs);
        token.cancelAuthorization(bob, NONCE, cv, cr, cs);
        vm.expectRevert(SchwungToken.AuthorizationAlreadyUsed.selector);
        token.transferWithAuthorization(bob, dave, 7, 0, type(uint256).max, NONCE, v, r, s);
        vm.expectRevert(SchwungToken.AuthorizationAlreadyUsed.selector);
        token.cancelAuthorization(bob, NONCE, cv, cr, cs);
    }
}
