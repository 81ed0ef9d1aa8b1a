// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ChaCha20} from "../src/ChaCha20.sol";
import {DataRegistry} from "../src/DataRegistry.sol";
import {Directory} from "../src/Directory.sol";
import {KeySale} from "../src/KeySale.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {ModelTypes} from "../src/ModelTypes.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {Reputation} from "../src/Reputation.sol";
import {RewardPool} from "../src/RewardPool.sol";
import {RewardTypes} from "../src/RewardTypes.sol";
import {SchwungToken} from "../src/SchwungToken.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {VoucherBank} from "../src/VoucherBank.sol";

/// Merkle trees as OpenZeppelin's proofs want them, built independently of LeafTree.
library Trees {
    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    /// The siblings of leaf `at`, from the bottom.
    function path(bytes32[] memory leaves, uint256 at) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](32);
        uint256 used;
        bytes32[] memory level = leaves;
        while (level.length > 1) {
            if (at ^ 1 < level.length) siblings[used++] = level[at ^ 1];
            bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
            for (uint256 i; i < level.length; i += 2) {
                above[i / 2] = i + 1 < level.length ? pair(level[i], level[i + 1]) : level[i];
            }
            (level, at) = (above, at / 2);
        }
        assembly {
            mstore(siblings, used)
        }
    }
}

/// The whole suite, and the people who use it. Arguments of a call are computed before `vm.prank`: a prank is spent by the
/// very next call, also by one inside an argument.
abstract contract Base is Test {
    uint256 internal constant N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant TOKEN = 1e18;
    uint64 internal constant DELIVER = 1 hours;
    uint64 internal constant DISPUTE = 2 hours;
    uint64 internal constant EXIT = 3 hours;
    uint64 internal constant CHALLENGE = 1 days; // of weights and of rewards
    uint64 internal constant RULING = 2 days;
    uint64 internal constant UNBONDING = 7 days;
    uint64 internal constant EPOCH = 1 days;
    uint96 internal constant STAKE = 10e18; // of publishers, challengers and proposers
    uint16 internal constant FEE_BPS = 250;
    uint16 internal constant HOLDBACK_BPS = 2_000;
    uint64 internal constant FEEDBACK = 12 hours;
    uint64 internal constant DIRECTORY_DELAY = 2 days;
    uint96 internal constant MIN_BOND = 1e18;
    uint256 internal constant ALPHA = 500_000;
    uint256 internal constant BETA = 800_000;
    bytes32 internal constant REVIEWS = "reviews";
    bytes32 internal constant CC_BY = "CC-BY-4.0";

    address internal admin = makeAddr("admin");
    address internal guardian = makeAddr("guardian");
    address internal arbiter = makeAddr("arbiter");
    address internal alice = makeAddr("alice"); // sells
    address internal bob;
    uint256 internal bobKey;
    address internal carol;
    uint256 internal carolKey;
    address internal dave = makeAddr("dave"); // a stranger

    SchwungToken internal token;
    DataRegistry internal registry;
    KeySale internal sale;
    VoucherBank internal bank;
    ModelRegistry internal models;
    PriceOracle internal oracle;
    RewardPool internal rewards;
    StakeVault internal stakes;
    Reputation internal reputation;
    Directory internal directory;

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        (bob, bobKey) = makeAddrAndKey("bob");
        (carol, carolKey) = makeAddrAndKey("carol");
        vm.startPrank(admin);
        token = new SchwungToken(admin, 1_000_000_000 * TOKEN);
        registry = new DataRegistry();
        bank = new VoucherBank(IERC20(address(token)), EXIT, guardian);
        sale = newSale(HOLDBACK_BPS, FEEDBACK);
        newModelsAndRewards(admin, CHALLENGE, CHALLENGE);
        reputation = new Reputation(sale, bank, models);
        directory = newDirectory();
        token.approve(address(rewards), 1_000_000 * TOKEN);
        rewards.fund(1_000_000 * TOKEN);
        vm.stopPrank();
        fund(alice);
        fund(bob);
        fund(carol);
    }

    function newSale(uint16 holdbackBps, uint64 feedbackWindow) internal returns (KeySale) {
        return new KeySale(
            IERC20(address(token)),
            registry,
            DELIVER,
            DISPUTE,
            MIN_BOND,
            FEE_BPS,
            guardian,
            holdbackBps,
            feedbackWindow
        );
    }

    /// Vault, models, oracle, pool, which name one another: `deployer`, who is pranked, makes them in this order.
    function newModelsAndRewards(address deployer, uint64 modelWindow, uint64 rewardWindow) internal {
        uint256 nonce = vm.getNonce(deployer);
        address[] memory slashers = new address[](2);
        slashers[0] = vm.computeCreateAddress(deployer, nonce + 1);
        slashers[1] = vm.computeCreateAddress(deployer, nonce + 3);
        IERC20 erc20 = IERC20(address(token));
        stakes = new StakeVault(erc20, UNBONDING, slashers);
        ModelTypes.Rules memory rules = ModelTypes.Rules(modelWindow, RULING, STAKE, FEE_BPS, arbiter);
        models = new ModelRegistry(erc20, bank, registry, stakes, rules, guardian);
        oracle = new PriceOracle(registry, slashers[1], admin, TOKEN / 100, 1 days, 250_000);
        rewards = new RewardPool(
            erc20, sale, bank, models, oracle, stakes, RewardTypes.Rules(ALPHA, BETA, STAKE, EPOCH, rewardWindow)
        );
    }

    function newDirectory() private returns (Directory) {
        bytes32[] memory names = new bytes32[](2);
        address[] memory targets = new address[](2);
        (names[0], targets[0]) = ("token", address(token));
        (names[1], targets[1]) = ("sale", address(sale));
        return new Directory(admin, DIRECTORY_DELAY, names, targets);
    }

    function fund(address who) internal {
        vm.prank(admin);
        token.transfer(who, 1_000_000 * TOKEN);
        vm.startPrank(who);
        token.approve(address(sale), type(uint256).max);
        token.approve(address(bank), type(uint256).max);
        token.approve(address(models), type(uint256).max);
        token.approve(address(stakes), type(uint256).max);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------------------------------------ data

    function register(address owner, bytes32 root, uint32 cells) internal returns (uint64) {
        uint64[] memory none;
        vm.prank(owner);
        return registry.register(root, cells, 100, REVIEWS, CC_BY, 0, 800_000, none, hex"01551220");
    }

    function offerOf(address seller, uint96 price, uint96 bond) internal returns (uint256) {
        uint64 dataset = register(seller, keccak256("root"), 4);
        vm.prank(seller);
        return sale.offer(dataset, price, bond);
    }

    /// A model of the publisher's own data alone.
    function publishAlone(address who, bytes32 modelId, uint16 publisherBps) internal {
        uint64[] memory own = new uint64[](1);
        uint32[] memory all = new uint32[](1);
        all[0] = 1_000_000;
        vm.prank(who);
        models.publish(ModelTypes.Terms(modelId, publisherBps, 1, 0, 0, 0), own, all, "");
    }

    // ------------------------------------------------------------------------------------------------ the exchange

    function point(uint256 secret) internal returns (bytes32 x, bytes32 y) {
        Vm.Wallet memory w = vm.createWallet(secret);
        return (bytes32(w.publicKeyX), bytes32(w.publicKeyY));
    }

    function lockAs(address buyer, uint256 offerId, uint256 secret) internal returns (uint256) {
        (bytes32 x, bytes32 y) = point(secret);
        vm.prank(buyer);
        return sale.lock(offerId, type(uint96).max, x, y);
    }

    struct Masked {
        bytes32 ex;
        uint8 parity;
        bytes32 c;
    }

    /// What a seller with secret e hands to the buyer with one-time secret b.
    function mask(bytes32 contentKey, uint256 b, uint256 e, uint256 saleId) internal returns (Masked memory m) {
        Vm.Wallet memory w = vm.createWallet(e);
        m.ex = bytes32(w.publicKeyX);
        m.parity = uint8(w.publicKeyY & 1);
        m.c = contentKey ^ keccak256(abi.encode(vm.addr(mulmod(b, e, N)), saleId));
    }

    function deliverAs(address seller, uint256 saleId, Masked memory m) internal {
        vm.prank(seller);
        sale.deliver(saleId, m.ex, m.parity, m.c);
    }

    // ------------------------------------------------------------------------------------------------ sealed payloads

    struct Payload {
        bytes32 root;
        uint32 cells;
        bytes32[] leaves;
        bytes[] ciphertexts;
        bytes32[] keys;
        bytes32[] ctHashes;
        bytes32[] ptHashes;
        bytes32[] keyHashes;
    }

    /// sealed/1 with `cells` cells of different sizes. In cell `junk` (cells or more: in none) the seller encrypts something
    /// else than he commits to; in cell `foreign` the key does not follow from the content key.
    function sealPayload(bytes32 contentKey, uint32 cells, uint32 junk, uint32 foreign)
        internal
        view
        returns (Payload memory p)
    {
        p.cells = cells;
        p.leaves = new bytes32[](cells);
        p.ciphertexts = new bytes[](cells);
        p.keys = new bytes32[](cells);
        p.ctHashes = new bytes32[](cells);
        p.ptHashes = new bytes32[](cells);
        p.keyHashes = new bytes32[](cells);
        for (uint32 i; i < cells; ++i) {
            bytes32 k = sha256(abi.encodePacked(i == foreign ? bytes32("foreign") : contentKey, i));
            bytes memory plain = new bytes(20 + i * 37 % 150);
            p.keys[i] = k;
            p.ciphertexts[i] = this.crypt(k, plain);
            p.ctHashes[i] = sha256(p.ciphertexts[i]);
            p.ptHashes[i] = sha256(bytes.concat("p", k, i == junk ? bytes("a better record") : plain));
            p.keyHashes[i] = sha256(bytes.concat("k", k));
            p.leaves[i] = sha256(abi.encode(p.ctHashes[i], p.ptHashes[i], p.keyHashes[i]));
        }
        (p.root,) = merkle(p.leaves, 0);
    }

    function crypt(bytes32 k, bytes calldata data) external pure returns (bytes memory) {
        return ChaCha20.xorStream(k, data);
    }

    /// The root, and the path of leaf i from the bottom; an odd node is carried up.
    function merkle(bytes32[] memory leaves, uint256 i) internal pure returns (bytes32 root, bytes32[] memory path) {
        bytes32[] memory level = new bytes32[](leaves.length);
        for (uint256 j; j < leaves.length; ++j) level[j] = leaves[j];
        path = new bytes32[](32);
        uint256 used;
        uint256 width = leaves.length;
        for (; width > 1; width = (width + 1) / 2) {
            if (i ^ 1 < width) path[used++] = level[i ^ 1];
            for (uint256 j; j < width; j += 2) {
                level[j / 2] = j + 1 < width ? sha256(abi.encode(level[j], level[j + 1])) : level[j];
            }
            i /= 2;
        }
        root = level[0];
        assembly {
            mstore(path, used)
        }
    }

    // ------------------------------------------------------------------------------------------------ vouchers

    function voucher(uint256 key, address payer, address payee, uint64 lane, uint96 cumulative)
        internal
        view
        returns (VoucherBank.Item memory)
    {
        bytes32 h = keccak256(abi.encode(bank.VOUCHER_TYPEHASH(), payer, payee, lane, cumulative));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked("\x19\x01", bank.domainSeparator(), h)));
        return VoucherBank.Item(payer, lane, cumulative, r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    function one(VoucherBank.Item memory item) internal pure returns (VoucherBank.Item[] memory items) {
        items = new VoucherBank.Item[](1);
        items[0] = item;
    }

    function asArray(uint256 value) internal pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = value;
    }
}
