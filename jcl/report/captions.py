"""Texts of a report: under its pictures, and on the columns of its table."""

# Pictures that lie in a run's own folder.
OWN = {
  "selections": (
    "What trained when",
    "Each column is a choice of tensors, in order; dark tensors trained until "
    "the next one. The input is at the bottom.",
  ),
  "profile": (
    "Where a step's time goes",
    "The time that each tensor adds to a step by the run's profile: carrying "
    "the gradient to it, its own gradient, its update.",
  ),
  "generality": (
    "Stability and plasticity of units",
    "Left: the similarity of a unit's outputs for earlier experiences now and "
    "just after these were learned. Right: the similarity of its outputs for "
    "new examples before and after learning them. A unit that stays at 1 needs "
    "no training.",
  ),
  "hierarchy": (
    "Sizes of the memory hierarchy",
    "Examples that the episodic memory and the stream buffer may hold, and the "
    "share of replayed examples that is exchanged with the store. Dots are "
    "decisions; grey lines mark the ends of experiences.",
  ),
  "trials": (
    "Trials of sizes",
    "Each mark is a size of memory and stream buffer: its score in a short "
    "trial over the predicted energy of training with it. Sizes that were not "
    "tried to the end are left out. Titles give the chosen sizes, memory + "
    "stream buffer.",
  ),
}
CAPTIONS = {
  "accuracy_cost": (
    "Accuracy against what it cost",
    "Each mark is a recipe, mean over seeds, whiskers 95 % intervals: the "
    "higher the more accurate in the end, the further left the cheaper. Left, "
    "over what learning took: training, replay, probes, reading and "
    "compilation, without evaluation and files. Right, over the most bytes "
    "that memory and statistics had at the end of an experience. Dashed lines "
    "are budgets; that of recipes other than auto pays for evaluation too.",
  ),
  "bought": (
    "What was bought, and at which price",
    "Bars are what an experience spent, beside the most that it was allowed, "
    "an equal share and what was predicted, where these are known. The price "
    "of a controller that has one is the gain, in points of examples set "
    "aside, that an equal share has to promise. A forecast by a few early "
    "looks stands beside what came of it. The tables say why.",
  ),
  "accuracy_per_experience": (
    "Accuracy as experiences arrive",
    "Each point is the mean accuracy over the test sets of all experiences "
    "learned so far. A line that stays high has kept the old while learning "
    "the new.",
  ),
  "accuracy_online": (
    "Accuracy at any time",
    "Accuracy on each batch before it was learned. Grey lines mark the ends of "
    "experiences.",
  ),
  "accuracy_over_time": (
    "Accuracy at any time",
    "Left: accuracy on the seen test sets at every evaluation, which shows "
    "dips within an experience. Right: accuracy on each batch before it was "
    "learned. Grey lines mark the ends of experiences.",
  ),
  "accuracy_matrix": (
    "Accuracy matrices",
    "Percent right on each test set (column) after each experience (row), "
    "class-incremental, mean over seeds. Read a column downwards from the "
    "diagonal to see one test set being forgotten.",
  ),
  "forgetting": (
    "Forgetting per test set",
    "How far accuracy on each test set ended below its best, "
    "class-incremental. Below zero, it ended at its best.",
  ),
  "costs": (
    "Where the cost went",
    "Totals of a run by account, mean over seeds; whiskers belong to the sum. "
    "The name of the energy says whether it was measured, partly measured or "
    "modelled.",
  ),
  "loss": (
    "Training loss",
    "Loss of the batches as they were learned. A jump at a grey line is the "
    "arrival of a new experience.",
  ),
  "memory_per_class": (
    "What the memory holds",
    "Examples of each class in the memory at the end; equal bars are a "
    "balanced memory.",
  ),
  "step_memory": (
    "Parts of the memory of a training step",
    "Bytes on the device for one call of the compiled step, with the weights "
    "of a frozen trunk that runs before it; the mark is the peak. A bar is "
    "longer than the peak if not all parts are in memory at the same time.",
  ),
}
MEANINGS = {
  "final_average_accuracy": "final accuracy, mean over test sets",
  "micro_average_accuracy": "final accuracy, all test examples as one set",
  "average_incremental_accuracy": (
    "average incremental accuracy: mean over experiences of the mean over the "
    "test sets seen by then"
  ),
  "learning_accuracy": "accuracy on each test set just after learning it",
  "forgetting_from_maximum": "forgetting: fall from the best accuracy",
  "forgetting_from_first": "forgetting: fall from just after learning",
  "backward_transfer": "backward transfer: rise from just after learning",
  "forward_transfer": (
    "forward transfer: gain over the untrained network just before learning it"
  ),
  "worst_case": "final accuracy on the worst test set",
  "worst_case_accuracy": (
    "WC-ACC: accuracy on the newest test set joined with the minima of the "
    "earlier ones since they were learned"
  ),
  "anytime_average": "accuracy on seen test sets, averaged over steps",
}
