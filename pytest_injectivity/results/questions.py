"""What each check asks, in plain sentences, and what to do where its answer is no.

A check of `audit/checks` has a row here; a contract test compares both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A check in plain sentences.

    Attributes:
        asked: the question, answered with yes where the verdict is PASS.
        means: what no means for whoever ships or shares the model.
        then: what to do about it.
    """

    asked: str
    means: str
    then: str


UNKNOWN = Question(
    "Does the check of this name pass?",
    "This version of the package does not know the check.",
    "Read the report with the version that wrote it.",
)
"""Of a check that another version has, or that somebody made up."""

_WHERE_LOST = (
    "Look at the first layer that is named: the error begins there. assert_weight_error_below and"
    " assert_block_error_below say which tensor or block it is."
)
_LOOSEN = (
    "Compare with a model that you trust (pytest-injectivity calibrate), and see whether the bound or"
    " the model is wrong."
)
_SERVED = (
    "Judge the audited model's own states by the same bound: where they pass, what the engine rounds,"
    " such as its cache, is the cause."
)
_RELEASE = "Release less: fewer layers, more noise, fewer bits; or keep the states inside."

QUESTIONS: dict[str, Question] = {
    "bilipschitz_within": Question(
        "Do states change by about as much for every change of a prompt?",
        "Some changes of a prompt move the state far more than others do.",
        _LOOSEN,
    ),
    "block_error_below": Question(
        "Does each block make of the parent's states what the parent's block makes of them?",
        "A block computes something else than its parent's does, by more than its bits explain.",
        "Quantize the part again that is blamed; its scales, zero points or order may be wrong.",
    ),
    "colipschitz_above": Question(
        "Does the state move enough for every token of a prompt that changes?",
        "Prompts that differ in many tokens have states that are nearly the same.",
        _LOOSEN,
    ),
    "colipschitz_retained": Question(
        "Does the state move as much for every changed token as it does in the parent?",
        "Prompts are told apart by other distances than in the parent.",
        _WHERE_LOST,
    ),
    "cut_not_read": Question(
        "Are the attackers unable to read the prompts from states sent at this depth?",
        "An attacker reads more tokens than was allowed from what crosses the cut.",
        _RELEASE,
    ),
    "discriminant_distance_above": Question(
        "Are the weights far from weights at which the closest prompts become one state?",
        "A change of the weights that is smaller than was allowed makes two prompts collide.",
        "Compare it with the roundings beside it: where few of them reach it, quantize to more bits.",
    ),
    "local_colipschitz_above": Question(
        "Does one step keep embedding rows apart that are near those of the prompts' tokens?",
        "Near a token there are directions in which its state hardly changes.",
        "It is local and predicts little: judge the margin, which says how far real tokens are apart.",
    ),
    "margin_above": Question(
        "Does nearly every prompt keep a distance from the nearest other one?",
        "Some prompts lie so near to another one that little more rounding makes them one.",
        _LOOSEN,
    ),
    "margin_retained": Question(
        "Do prompts lie as far apart as they do in the parent?",
        "Prompts were moved together, or apart, against the parent.",
        _WHERE_LOST,
    ),
    "matches_baseline": Question(
        "Are the numbers of each layer as good as those that were recorded?",
        "A number got worse since the baseline was recorded, or there is no baseline.",
        "If the change is meant, record it again with --injx-update-baseline and commit the file.",
    ),
    "metric_bounded": Question(
        "Is the number of each layer on the right side of its bound?",
        "The number that was bounded is beyond its bound.",
        _LOOSEN,
    ),
    "next_token_kept": Question(
        "Does the model predict the next tokens that its parent predicts?",
        "Its answers differ from the parent's by more than was allowed.",
        "Look at the first bad layer; where all layers are green, at the final norm and the head.",
    ),
    "no_collisions": Question(
        "Can every two prompts be told apart by their states?",
        "Two prompts have equal states, or states as near as two evaluations of one prompt are.",
        "Read which kind it is: structural means that no weights of this architecture tell the pair"
        " apart, accidental that these weights, their precision or quantization are the cause.",
    ),
    "no_continuation_collisions": Question(
        "Can all continuations of a prompt by one token be told apart by their states?",
        "Two next tokens lead to states that cannot be told apart.",
        "Read which tokens they are: tokens with equal embedding rows collide in every layer.",
    ),
    "no_new_collisions": Question(
        "Does the model tell apart every two prompts that its parent tells apart?",
        "Prompts collide in the model that do not collide in the parent.",
        _WHERE_LOST,
    ),
    "no_repetition_collapse": Question(
        "Does the model tell one more repetition of a token from so many?",
        "From some number on, the model cannot know how often a token was repeated.",
        "Where it is structural, begin prompts with a token such as BOS; else compute in a finer dtype.",
    ),
    "not_read_by_reference": Question(
        "Is somebody with the parent's public weights unable to read the prompts from the states?",
        "The parent's weights read more tokens than was allowed.",
        _RELEASE,
    ),
    "not_recoverable": Question(
        "Are the attackers unable to read the prompts from what is released?",
        "An attacker reads more tokens than was allowed.",
        _RELEASE,
    ),
    "one_step_distinct": Question(
        "Do all tokens of the vocabulary have states of their own where no prompt is needed?",
        "Two tokens have equal embedding rows, or states that cannot be told apart.",
        "If the tokens are known to be unused duplicates, accept them by twins=N.",
    ),
    "quantized": Question(
        "Were the weights of every block proved to hold few bits?",
        "A block was left in full precision, or nothing could be proved of its weights.",
        "See which modules the quantizer left out, and how the checkpoint was saved.",
    ),
    "same_function": Question(
        "Do configuration, tokenizer and chat template make the model its parent's function?",
        "A field differs that changes what is computed of a text.",
        "Put the parent's value back, or accept the field by accepted=[...] if it is meant. Until then"
        " the numbers of other comparisons follow from it.",
    ),
    "served_as_audited": Question(
        "Are the states that the engine serves those of the model that was audited?",
        "The engine serves something else than what was audited, or its files are not what they claim.",
        "Read what the states look like instead: a layer, a dtype, a cache or a model to set right.",
    ),
    "served_colipschitz_above": Question(
        "Does the state that the engine serves move enough for every token of a prompt that changes?",
        "Prompts that differ in many tokens are served with states that are nearly the same.",
        _SERVED,
    ),
    "served_margin_above": Question(
        "Does nearly every prompt keep a distance from the nearest other one in the states served?",
        "Some prompts are served with states so near that little more rounding makes them one.",
        _SERVED,
    ),
    "served_no_collisions": Question(
        "Do all prompts have states of their own in what the engine serves?",
        "Two prompts are served with states that are equal or too near.",
        _SERVED,
    ),
    "sipit_recovers": Question(
        "Can prompts be read back from their states, token by token?",
        "A prompt was not read back, or its answer could not be verified.",
        "See where the first wrong token stands: the resolution there may be too coarse for this dtype.",
    ),
    "stable_along_training": Question(
        "Do prompts keep their distance at every step of the training, as they have it at the first?",
        "At a step of the training prompts lie much nearer to each other than at the first step.",
        "Look at the curve in the page's sweeps, and at what changed at that step: learning rate, weight"
        " decay, precision, data. Train on from a step before it.",
    ),
    "state_drift_below": Question(
        "Do the states lie near the parent's?",
        "The states moved away from the parent's by more than was allowed.",
        _WHERE_LOST,
    ),
    "states_recoverable": Question(
        "Can the prompts be read with this model from the states that were captured elsewhere?",
        "They cannot: the states may be of another model, layer or precision.",
        "Compare the layer and the model that the file names with the ones that were given.",
    ),
    "utility_kept": Question(
        "Does the model that goes on from the release still prefer the same next tokens?",
        "What is released is of too little use.",
        "Release more, or add less noise; a sweep shows where privacy and use both hold.",
    ),
    "weight_error_below": Question(
        "Are the weights the parent's, rounded?",
        "A tensor differs from the parent's by more than its bits explain.",
        "Quantize that tensor again; a wrong scale, order or parent is the usual cause.",
    ),
}
"""By the name of the check."""
