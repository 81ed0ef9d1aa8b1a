// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Commitments to datasets: who owns which sealed payload, under which licence and consent, made from which parents.
/// Holds no money and no personal data: `consentRoot` is a Merkle root over salted hashes.
contract DataRegistry {
    struct Dataset {
        address owner; // slot 0, with the four below
        uint32 cells;
        uint32 records;
        uint24 qualityPpm;
        bool revoked;
        bytes32 root; // of the sealed payload (format sealed/1)
        bytes32 domain; // the domain's name, UTF-8, right-padded
        bytes32 licence; // the licence's name, UTF-8, right-padded
        bytes32 consentRoot;
        uint64 registeredAt; // UTC seconds
        uint64 revokedAt;
        uint64 parentCount;
        bytes32 parentsHash; // keccak256(abi.encode(parents)), zero without parents
    }

    uint256 public constant MAX_PARENTS = 32;
    /// A CID has 36 bytes in binary and under 100 in any text form.
    uint256 public constant MAX_CID_BYTES = 128;

    uint64 public datasetCount;
    mapping(uint64 id => Dataset) private _datasets;

    event Registered(
        uint64 indexed id,
        address indexed owner,
        bytes32 indexed domain,
        bytes32 root,
        uint32 cells,
        uint32 records,
        bytes32 licence,
        bytes32 consentRoot,
        uint32 qualityPpm,
        uint64[] parents,
        bytes cid
    );
    event Revoked(uint64 indexed id, address indexed owner);

    error EmptyDataset();
    error QualityOutOfRange();
    error TooManyParents();
    error CidTooLong();
    error ParentNotActive(uint64 parent);
    error NotOwner();
    error AlreadyRevoked();

    /// Parents must exist already, so provenance has no cycles; they must be active, so nothing derives from what was revoked.
    function register(
        bytes32 root,
        uint32 cells,
        uint32 records,
        bytes32 domain,
        bytes32 licence,
        bytes32 consentRoot,
        uint32 qualityPpm,
        uint64[] calldata parents,
        bytes calldata cid
    ) external returns (uint64 id) {
        if (cells == 0 || records == 0 || root == 0) revert EmptyDataset();
        if (qualityPpm > 1_000_000) revert QualityOutOfRange();
        if (cid.length > MAX_CID_BYTES) revert CidTooLong();
        id = ++datasetCount;
        Dataset storage d = _datasets[id];
        d.owner = msg.sender;
        d.cells = cells;
        d.records = records;
        d.qualityPpm = uint24(qualityPpm);
        d.root = root;
        d.domain = domain;
        d.licence = licence;
        d.consentRoot = consentRoot;
        d.registeredAt = uint64(block.timestamp);
        _setParents(d, parents);
        _announce(id, d, parents, cid);
    }

    /// Consent withdrawn or data erased: no new offer, sale or model may bind to it. Not reversible.
    function revoke(uint64 id) external {
        Dataset storage d = _datasets[id];
        if (d.owner != msg.sender) revert NotOwner();
        if (d.revoked) revert AlreadyRevoked();
        d.revoked = true;
        d.revokedAt = uint64(block.timestamp);
        emit Revoked(id, msg.sender);
    }

    function owner(uint64 id) external view returns (address) {
        return _datasets[id].owner;
    }

    function isActive(uint64 id) public view returns (bool) {
        Dataset storage d = _datasets[id];
        return d.owner != address(0) && !d.revoked;
    }

    function dataset(uint64 id) external view returns (Dataset memory) {
        return _datasets[id];
    }

    /// What a model's split goes by, in one slot.
    function facts(uint64 id) external view returns (address owner_, uint32 records, uint32 qualityPpm, bool active) {
        Dataset storage d = _datasets[id];
        return (d.owner, d.records, d.qualityPpm, isActive(id));
    }

    /// What a dispute needs, in two slots.
    function commitment(uint64 id) external view returns (bytes32 root, uint32 cells) {
        Dataset storage d = _datasets[id];
        return (d.root, d.cells);
    }

    /// What a price needs, without the rest.
    function pricing(uint64 id)
        external
        view
        returns (bytes32 domain, bytes32 licence, uint32 records, uint32 qualityPpm, uint64 registeredAt)
    {
        Dataset storage d = _datasets[id];
        return (d.domain, d.licence, d.records, d.qualityPpm, d.registeredAt);
    }

    function _setParents(Dataset storage d, uint64[] calldata parents) private {
        if (parents.length == 0) return;
        if (parents.length > MAX_PARENTS) revert TooManyParents();
        for (uint256 i; i < parents.length; ++i) {
            if (!isActive(parents[i]) || parents[i] == datasetCount) revert ParentNotActive(parents[i]);
        }
        d.parentCount = uint64(parents.length);
        d.parentsHash = keccak256(abi.encode(parents));
    }

    function _announce(uint64 id, Dataset storage d, uint64[] calldata parents, bytes calldata cid) private {
        emit Registered(
            id,
            d.owner,
            d.domain,
            d.root,
            d.cells,
            d.records,
            d.licence,
            d.consentRoot,
            d.qualityPpm,
            parents,
            cid
        );
    }
}
