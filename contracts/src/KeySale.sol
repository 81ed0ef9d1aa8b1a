// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {CellTree} from "./CellTree.sol";
import {ChaCha20} from "./ChaCha20.sol";
import {Curve} from "./Curve.sol";
import {DataRegistry} from "./DataRegistry.sol";
import {EntryPause} from "./EntryPause.sol";
import {Fees} from "./Fees.sol";
import {KeySaleTypes} from "./KeySaleTypes.sol";
import {HeldWord, HeldWords, OfferWord, OfferWords, SaleWord, SaleWords} from "./Words.sol";

/// Sells the content key CK of a publicly pinned ciphertext, many times, without the key ever standing on chain.
///
/// payload: k_i = sha256(CK || be32(i)); ct_i = ChaCha20(k_i, m_i)
///          leaf_i = sha256(sha256(ct_i) || sha256("p" || k_i || m_i) || sha256("k" || k_i)); root = sha256 tree by position
/// buyer:   one-time key b, B = bG.   seller: e, E = eG, c = CK xor keccak(addr(eB) || saleId).
/// A wrong key is proved by revealing b (one-time): the contract recomputes addr(bE) with ecrecover.
/// A wrong cell is proved by revealing that cell's key only: the contract decrypts and hashes the cell.
///
/// One sale: Locked -> (Delivered ->) Paid, or -> Refunded; exactly one of the two ends, once.
///   confirm         the buyer has the key (over libp2p or on chain) and it is good; also by signature, many at once
///   deliver, claim  the seller's way when the buyer stays silent: post the key before the deadline, wait for the dispute window
///   refund          the seller's deadline passed, or the offer was proved bad
///   disputeKey/Cell a proven fault: money back to the buyer, half the bond to him, the other half burnt
///
/// A share of every paid price stays here until buyers had time to look at what they got: time is cut into buckets of one
/// feedback window, and what was paid in a bucket ripens at the start of the one after the next. When the offer is proved bad
/// before, that share goes back to those who paid it (`reclaim`, Paid -> Reclaimed).
///
/// What is earned stays counted in the offer (two slots, which exist from the offer on) until `collect` moves it to the
/// seller's credit and the fee to the fire. All money leaves by `withdraw`.
contract KeySale is KeySaleTypes, EIP712, EntryPause {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    struct Cold {
        address seller;
        uint96 bond;
    }

    bytes32 public constant CONFIRM_TYPEHASH = keccak256("Confirm(uint256 saleId)");

    IERC20 public immutable token;
    DataRegistry public immutable registry;
    uint64 public immutable deliverWindow; // seconds
    uint64 public immutable disputeWindow; // seconds
    uint96 public immutable minBond;
    uint16 public immutable feeBps;
    uint16 public immutable holdbackBps;
    uint64 public immutable feedbackWindow; // seconds
    uint64 public immutable bondWindow; // seconds the bond stays after closing

    uint256 public offerCount;
    mapping(uint256 offerId => OfferWord) private _words;
    mapping(uint256 offerId => Cold) private _cold;
    mapping(uint256 offerId => HeldWord) private _held;
    mapping(uint256 saleId => SaleWord) private _slips; // saleId = offerId << 64 | n, n from 1
    /// What an open sale is bound to: the address of B; after `deliver` keccak(address of B, ex, parity, c). By desk, which the
    /// next sale uses again: writing over a used slot costs 17,100 gas less than a fresh one.
    mapping(uint256 place => bytes32) private _commitments; // place = offerId << 64 | desk << 32, or the sale's own id
    /// What an address may withdraw. A seller's paid sales are added by `collect`.
    mapping(address => uint256) public credit;
    uint128 public feesDue; // collected, to be burnt
    uint128 public penaltiesDue; // slashed, to be burnt
    uint256 public feesBurnt;

    constructor(
        IERC20 token_,
        DataRegistry registry_,
        uint64 deliverWindow_,
        uint64 disputeWindow_,
        uint96 minBond_,
        uint16 feeBps_,
        address guardian_,
        uint16 holdbackBps_,
        uint64 feedbackWindow_
    ) EIP712("KeySale", "1") EntryPause(guardian_) {
        // Together below the price, whatever the rounding.
        if (feeBps_ > 1_000) revert FeeTooHigh();
        if (holdbackBps_ > 5_000) revert HoldbackTooHigh();
        if (feedbackWindow_ == 0) revert NoFeedbackWindow();
        token = token_;
        registry = registry_;
        deliverWindow = deliverWindow_;
        disputeWindow = disputeWindow_;
        minBond = minBond_;
        feeBps = feeBps_;
        holdbackBps = holdbackBps_;
        feedbackWindow = feedbackWindow_;
        bondWindow = disputeWindow_ > feedbackWindow_ ? disputeWindow_ : feedbackWindow_;
    }

    // ------------------------------------------------------------------------------------------------------ offers

    /// Root, cells and licence are those of the registered dataset. The bond limits how many sales may be open at once.
    function offer(uint64 dataset, uint96 price, uint96 bond) external whenEntryOpen returns (uint256 offerId) {
        if (registry.owner(dataset) != msg.sender) revert NotDatasetOwner();
        if (!registry.isActive(dataset)) revert DatasetNotActive();
        if (price == 0 || price > type(uint88).max) revert PriceOutOfRange();
        if (bond < minBond || bond < price) revert BondTooSmall();
        offerId = ++offerCount;
        uint256 maxOpen = bond / price;
        if (maxOpen > type(uint24).max) maxOpen = type(uint24).max;
        _words[offerId] = OfferWords.make(price, uint256(dataset).toUint48(), maxOpen, uint256(Status.Open));
        Cold storage cold = _cold[offerId];
        cold.seller = msg.sender;
        cold.bond = bond;
        _held[offerId] = HeldWords.make(block.timestamp / feedbackWindow);
        // The offer pays for the storage of its first desk, so that its first buyer pays what the later ones do.
        _commitments[_place(offerId << 64, 0)] = bytes32(uint256(1));
        (bytes32 root, uint32 cells) = registry.commitment(dataset);
        emit Offered(offerId, msg.sender, dataset, root, cells, price, bond);
        token.safeTransferFrom(msg.sender, address(this), bond);
    }

    /// No new sales. Open ones run to their end; the bond stays until the dispute window and the feedback window after the
    /// closing have passed.
    function close(uint256 offerId) external {
        if (_cold[offerId].seller != msg.sender) revert NotSeller();
        if (_status(offerId) != Status.Open) revert OfferNotOpen();
        _words[offerId] = _words[offerId].withStatus(uint256(Status.Closed));
        _held[offerId] = _held[offerId].withClosedAt(block.timestamp);
        emit Closed(offerId, uint64(block.timestamp));
    }

    function takeBond(uint256 offerId) external {
        Cold storage cold = _cold[offerId];
        if (cold.seller != msg.sender) revert NotSeller();
        Status status = _status(offerId);
        if (status == Status.Bad) revert OfferIsBad();
        if (status != Status.Closed || block.timestamp <= _held[offerId].closedAt() + bondWindow) revert TooEarly();
        if (_words[offerId].open() != 0) revert SalesStillOpen();
        uint96 bond = cold.bond;
        if (bond == 0) revert NoBond();
        cold.bond = 0;
        credit[msg.sender] += bond;
        emit BondReturned(offerId, bond);
    }

    // ------------------------------------------------------------------------------------------------------ one sale

    /// (bx, by) is the buyer's one-time public key: never use it twice. Never takes more than `maxPrice`.
    function lock(uint256 offerId, uint96 maxPrice, bytes32 bx, bytes32 by) external returns (uint256 saleId) {
        OfferWord w = _words[offerId];
        uint256 price = w.price();
        if (w.status() != uint256(Status.Open) || w.exhausted()) revert OfferNotOpen();
        if (price > maxPrice) revert PriceAboveMax();
        if (w.open() >= w.maxOpen()) revert BondFullyUsed();
        if (!registry.isActive(w.dataset())) revert DatasetNotActive();
        // A point off the curve would tie up the bond: no seller could answer it.
        if (!Curve.contains(bx, by)) revert NotOnCurve();
        uint256 desk;
        (w, desk) = w.opened();
        _words[offerId] = w;
        saleId = offerId << 64 | w.sold();
        uint64 deliverBy = uint64(block.timestamp) + deliverWindow;
        _slips[saleId] = SaleWords.make(msg.sender, deliverBy, uint256(State.Locked), desk);
        _commitments[_place(saleId, desk)] = Curve.addressOf(bx, by);
        emit Locked(saleId, offerId, msg.sender, bx, by, deliverBy);
        token.safeTransferFrom(msg.sender, address(this), price);
    }

    /// Posts E and the masked key on chain: needed only when the buyer does not confirm what he got in private.
    function deliver(uint256 saleId, bytes32 ex, uint8 parity, bytes32 c) external {
        SaleWord s = _slips[saleId];
        if (_cold[saleId >> 64].seller != msg.sender) revert NotSeller();
        if (s.state() != uint256(State.Locked)) revert WrongState();
        if (block.timestamp > s.deadline()) revert TooLate();
        if (parity > 1) revert BadDelivery();
        uint64 disputeBy = uint64(block.timestamp) + disputeWindow;
        _slips[saleId] = SaleWords.make(s.buyer(), disputeBy, uint256(State.Delivered), s.desk());
        uint256 place = _place(saleId, s.desk());
        _commitments[place] = keccak256(abi.encode(_commitments[place], ex, parity, c));
        emit Delivered(saleId, ex, parity, c, disputeBy);
    }

    /// The buyer is content, with a private delivery or with one on chain.
    function confirm(uint256 saleId) external {
        SaleWord s = _slips[saleId];
        if (s.buyer() != msg.sender) revert NotBuyer();
        _requireLive(s);
        _pay(saleId, s);
    }

    /// Confirmations that buyers signed (EIP-712), brought by anyone. What is no longer open or not signed by its buyer is
    /// skipped, so that one of them cannot stop the others. Returns how many were paid.
    function confirmMany(uint256[] calldata saleIds, Signature[] calldata signatures) external returns (uint256 paid) {
        if (saleIds.length != signatures.length) revert LengthMismatch();
        bytes32 separator = _domainSeparatorV4();
        for (uint256 i; i < saleIds.length; ++i) {
            SaleWord s = _slips[saleIds[i]];
            if (!_isLive(s)) continue;
            Signature calldata sig = signatures[i];
            address signer = Curve.signer(_confirmDigest(separator, saleIds[i]), sig.r, sig.vs);
            if (signer == address(0) || signer != s.buyer()) continue;
            _pay(saleIds[i], s);
            ++paid;
        }
    }

    /// Anyone, once the dispute window after an on-chain delivery has passed without a proven fault.
    function claim(uint256 saleId) external {
        SaleWord s = _slips[saleId];
        if (s.state() != uint256(State.Delivered)) revert WrongState();
        if (block.timestamp <= s.deadline()) revert TooEarly();
        if (_status(saleId >> 64) == Status.Bad) revert OfferIsBad();
        _pay(saleId, s);
    }

    /// Anyone, for a sale whose key never came, or any open sale of an offer that was proved bad.
    function refund(uint256 saleId) external {
        SaleWord s = _slips[saleId];
        _requireLive(s);
        if (_status(saleId >> 64) != Status.Bad) {
            if (s.state() != uint256(State.Locked)) revert WrongState();
            if (block.timestamp <= s.deadline()) revert TooEarly();
        }
        _giveBack(saleId, s);
    }

    // ------------------------------------------------------------------------------------------------------ disputes

    /// The key delivered on chain for this sale does not open cell i. `b` is the buyer's one-time key, worthless afterwards.
    /// Anyone may bring it; the money and the reward go to the buyer, so copying the call gains nothing.
    function disputeKey(
        uint256 saleId,
        uint256 b,
        bytes32 ex,
        uint8 parity,
        bytes32 c,
        uint32 i,
        bytes32 ctHash,
        bytes32 ptHash,
        bytes32 keyHash,
        bytes32[] calldata path
    ) external {
        SaleWord s = _slips[saleId];
        if (s.state() != uint256(State.Delivered)) revert WrongState();
        if (block.timestamp > s.deadline()) revert TooLate();
        if (b == 0 || b >= Curve.N) revert WrongKey();
        bytes32 buyerKey = bytes32(uint256(uint160(Curve.mul(Curve.GX, 0, b))));
        if (keccak256(abi.encode(buyerKey, ex, parity, c)) != _commitments[_place(saleId, s.desk())]) {
            revert WrongKey();
        }
        address shared = Curve.mul(ex, parity, b);
        // An E off the curve is the seller's fault by itself.
        if (shared != address(0)) {
            _requireLeaf(saleId >> 64, i, CellTree.leafOf(ctHash, ptHash, keyHash), path);
            bytes32 contentKey = c ^ keccak256(abi.encode(shared, saleId));
            bytes32 k = sha256(abi.encodePacked(contentKey, i));
            if (CellTree.hashKey(k) == keyHash) revert NoFault();
        }
        _giveBack(saleId, s);
        _slash(saleId >> 64, s.buyer(), 1);
    }

    /// Cell i, opened with its committed key, is not the committed plaintext. By a buyer of the offer who was not refunded.
    function disputeCell(
        uint256 saleId,
        uint32 i,
        bytes32 k,
        bytes32 ptHash,
        bytes calldata ct,
        bytes32[] calldata path
    ) external {
        SaleWord s = _slips[saleId];
        uint256 offerId = saleId >> 64;
        if (s.buyer() != msg.sender) revert NotBuyer();
        if (s.state() == uint256(State.Refunded)) revert WrongState();
        if (_status(offerId) == Status.Bad) revert OfferIsBad();
        _requireLeaf(offerId, i, CellTree.leafOf(sha256(ct), ptHash, CellTree.hashKey(k)), path);
        if (sha256(bytes.concat(bytes1("p"), k, ChaCha20.xorStream(k, ct))) == ptHash) revert NoFault();
        if (s.state() != uint256(State.Paid)) _giveBack(saleId, s);
        _slash(offerId, msg.sender, 2);
    }

    /// The buyer of a paid sale of an offer that was proved bad takes back what was held of his price and not yet ripe then.
    /// Only he may: a reclaimed sale is rated no more, which is his to decide.
    function reclaim(uint256 saleId) external returns (uint256 amount) {
        SaleWord s = _slips[saleId];
        uint256 offerId = saleId >> 64;
        OfferWord w = _words[offerId];
        HeldWord h = _held[offerId];
        if (s.buyer() != msg.sender) revert NotBuyer();
        if (s.state() != uint256(State.Paid)) revert WrongState();
        if (w.status() != uint256(Status.Bad)) revert OfferIsNotBad();
        if (s.deadline() / feedbackWindow + 1 < h.bucket()) revert AlreadyRipe();
        _slips[saleId] = s.withState(uint256(State.Reclaimed));
        _held[offerId] = h.reclaimed();
        amount = heldShare(w.price());
        credit[msg.sender] += amount;
        emit Reclaimed(saleId, msg.sender, amount);
    }

    // ------------------------------------------------------------------------------------------------------ money out

    /// Moves what these offers earned to their sellers' credit and the fee to what will be burnt. Anyone may call.
    function collect(uint256[] calldata offerIds) external {
        for (uint256 i; i < offerIds.length; ++i) {
            _collect(offerIds[i]);
        }
    }

    function withdraw() external returns (uint256 amount) {
        amount = credit[msg.sender];
        credit[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// `collect` and `withdraw` in one transaction: how a seller is paid.
    function collectAndWithdraw(uint256[] calldata offerIds) external returns (uint256 amount) {
        for (uint256 i; i < offerIds.length; ++i) {
            _collect(offerIds[i]);
        }
        amount = credit[msg.sender];
        credit[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// Anyone may light the fire.
    function burnFees() external {
        uint256 fees = feesDue;
        uint256 penalties = penaltiesDue;
        if (fees + penalties == 0) return;
        feesDue = 0;
        penaltiesDue = 0;
        feesBurnt += fees;
        emit FeesBurnt(fees, penalties);
        Fees.burn(token, fees + penalties);
    }

    // ------------------------------------------------------------------------------------------------------ views

    function offers(uint256 offerId) external view returns (Offer memory) {
        OfferWord w = _words[offerId];
        Cold memory cold = _cold[offerId];
        (bytes32 root, uint32 cells) = registry.commitment(w.dataset());
        return Offer(
            cold.seller,
            w.dataset(),
            uint96(w.price()),
            cold.bond,
            root,
            cells,
            uint32(w.maxOpen()),
            uint32(w.open()),
            uint32(w.sold()),
            uint32(w.uncollected()),
            Status(w.status()),
            _held[offerId].closedAt()
        );
    }

    /// `commitment` is zero once the sale has ended.
    function sales(uint256 saleId) external view returns (Sale memory) {
        SaleWord s = _slips[saleId];
        bytes32 commitment = _isLive(s) ? _commitments[_place(saleId, s.desk())] : bytes32(0);
        return Sale(s.buyer(), uint96(_words[saleId >> 64].price()), uint64(s.deadline()), State(s.state()), commitment);
    }

    function sellerOf(uint256 offerId) external view returns (address) {
        return _cold[offerId].seller;
    }

    /// What `collect` would give the seller of this offer now.
    function earned(uint256 offerId) external view returns (uint256 amount) {
        OfferWord w = _words[offerId];
        (amount,) = _due(w, _aged(offerId, w));
    }

    /// What of this offer's paid prices is the seller's, but not ripe yet.
    function held(uint256 offerId) external view returns (uint256) {
        OfferWord w = _words[offerId];
        if (w.status() == uint256(Status.Bad)) return 0;
        return _aged(offerId, w).unripe() * heldShare(w.price());
    }

    /// The part of a price that is burnt.
    function feeOf(uint256 price) public view returns (uint256) {
        return Fees.share(price, feeBps);
    }

    /// The part of a price that is held back; rounded down, against nobody but the buyer of a few units.
    function heldShare(uint256 price) public view returns (uint256) {
        return price * holdbackBps / Fees.BPS;
    }

    /// All that the contract owes for one offer: open prices, earnings and fees not yet collected, what is held back, and the
    /// bond.
    function owedFor(uint256 offerId) external view returns (uint256) {
        OfferWord w = _words[offerId];
        HeldWord h = _held[offerId];
        uint256 share = heldShare(w.price());
        uint256 paid = w.uncollected() * (w.price() - share) + (h.unripe() + h.ripe()) * share;
        return w.open() * w.price() + paid + _cold[offerId].bond;
    }

    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // ------------------------------------------------------------------------------------------------------ private

    function _isLive(SaleWord s) private pure returns (bool) {
        return s.state() == uint256(State.Locked) || s.state() == uint256(State.Delivered);
    }

    function _requireLive(SaleWord s) private pure {
        if (!_isLive(s)) revert WrongState();
    }

    function _status(uint256 offerId) private view returns (Status) {
        return Status(_words[offerId].status());
    }

    function _place(uint256 saleId, uint256 desk) private pure returns (uint256) {
        return desk < OfferWords.DESK_COUNT ? (saleId >> 64 << 64) | (desk << 32) : saleId;
    }

    function _pay(uint256 saleId, SaleWord s) private {
        uint256 offerId = saleId >> 64;
        _slips[saleId] = SaleWords.make(s.buyer(), block.timestamp, uint256(State.Paid), s.desk());
        OfferWord w = _words[offerId].finished(s.desk(), true);
        _words[offerId] = w;
        _held[offerId] = _aged(offerId, w).paid();
        emit Finished(saleId, State.Paid);
    }

    function _giveBack(uint256 saleId, SaleWord s) private {
        _slips[saleId] = s.withState(uint256(State.Refunded));
        OfferWord w = _words[saleId >> 64].finished(s.desk(), false);
        _words[saleId >> 64] = w;
        emit Finished(saleId, State.Refunded);
        credit[s.buyer()] += w.price();
    }

    /// What is held as of now. Once the offer was proved bad nothing ripens any more.
    function _aged(uint256 offerId, OfferWord w) private view returns (HeldWord h) {
        h = _held[offerId];
        if (w.status() != uint256(Status.Bad)) h = h.aged(block.timestamp / feedbackWindow);
    }

    function _due(OfferWord w, HeldWord h) private view returns (uint256 amount, uint256 fee) {
        uint256 count = w.uncollected();
        uint256 share = heldShare(w.price());
        fee = feeOf(w.price()) * count;
        amount = (w.price() - share) * count - fee + share * h.ripe();
    }

    function _collect(uint256 offerId) private {
        OfferWord w = _words[offerId];
        HeldWord h = _aged(offerId, w);
        if (w.uncollected() + h.ripe() == 0) return;
        (uint256 amount, uint256 fee) = _due(w, h);
        _words[offerId] = w.withNoneUncollected();
        _held[offerId] = h.withNoneRipe();
        address seller = _cold[offerId].seller;
        credit[seller] += amount;
        feesDue += fee.toUint128();
        emit Collected(offerId, seller, amount, fee);
    }

    /// Half the bond is burnt: who reports himself loses.
    function _slash(uint256 offerId, address to, uint8 kind) private {
        OfferWord w = _words[offerId];
        if (w.status() == uint256(Status.Bad)) return;
        _held[offerId] = _aged(offerId, w).frozen();
        _words[offerId] = w.withStatus(uint256(Status.Bad));
        uint96 bond = _cold[offerId].bond;
        _cold[offerId].bond = 0;
        uint96 reward = bond / 2;
        credit[to] += reward;
        penaltiesDue += bond - reward;
        emit Misbehaved(offerId, to, kind, bond);
    }

    function _confirmDigest(bytes32 separator, uint256 saleId) private pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", separator, keccak256(abi.encode(CONFIRM_TYPEHASH, saleId))));
    }

    function _requireLeaf(uint256 offerId, uint32 i, bytes32 leaf, bytes32[] calldata path) private view {
        (bytes32 root, uint32 cells) = registry.commitment(_words[offerId].dataset());
        if (!CellTree.holds(root, cells, i, leaf, path)) revert NotInTree();
    }
}
