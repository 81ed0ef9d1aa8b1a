"""Holes in RewardPool."""

from holes.mutant import Mutant

MUTANTS = [
    Mutant("RewardPool", "the seller rates himself", "if (s.buyer != msg.sender) revert NotBuyer();"),
    Mutant("RewardPool", "an unpaid sale is rewarded", "if (s.state != KeySaleTypes.State.Paid) revert NotPaid();"),
    Mutant("RewardPool", "a sale is rewarded again", "if (rated[saleId]) revert AlreadyRated();"),
    Mutant("RewardPool", "no budget", "if (amount > left) amount = left;"),
    Mutant("RewardPool", "rewards are not counted", "        rewarded += amount;\n"),
    Mutant("RewardPool", "fees that wait are no budget", "            _burn(offerId);\n"),
    Mutant("RewardPool", "alpha is ignored", "* alphaPpm / PPM;", ";"),
    Mutant("RewardPool", "the whole fee comes back", "amount = fee * betaPpm / PPM;", "amount = fee;"),
    Mutant("RewardPool", "a lane is rewarded again", "ratedUpTo[modelId][msg.sender] = settled;"),
    Mutant(
        "RewardPool",
        "the old part is rewarded again",
        "(settled - before) * models.feeBps()",
        "settled * models.feeBps()",
    ),
    Mutant(
        "RewardPool",
        "a twin of the lane is a second ticket",
        " || models.modelOfLane(models.laneOf(modelId)) != modelId",
    ),
    Mutant("RewardPool", "credit is paid twice", "        credit[msg.sender] = 0;\n"),
    Mutant("RewardPool", "paid rewards stay owed", "        owed -= amount;\n"),
    Mutant(
        "RewardPool",
        "credits are spent again as budget",
        "token.balanceOf(address(this)) - owed",
        "token.balanceOf(address(this))",
    ),
    Mutant("RewardPool", "a share of one or more", "if (alphaPpm_ >= PPM || betaPpm_ >= PPM) revert ShareTooHigh();"),
    Mutant(
        "RewardPool", "an oracle of somebody else", "if (oracle_.reporter() != address(this)) revert NotReporter();"
    ),
    Mutant("RewardPool", "ratings out of range", "if (rating < 1 || rating > 5) revert BadRating();"),
    Mutant(
        "RewardPool", "price does not follow feedback", "oracle.report(sale.offers(offerId).dataset, rating, s.price);"
    ),
]
