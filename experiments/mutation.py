"""Share of single changes of the code that its own tests notice.

  pip install -e ".[test,mutation]"
  python experiments/mutation.py --sample=80 --seed=0
  python experiments/mutation.py --modules=jcl/train/slots.py,jcl/replay
  python experiments/mutation.py --modules=jcl/train/slots.py:127 --sample=0

Cosmic Ray makes the changes: another operator, comparison or constant, a
condition turned round, a loop left out. A place in the code is drawn first and
one of its changes then, so that an operator with eleven substitutes weighs no
more than a constant with two; annotations are left alone. Each change is made
in a copy of the checkout, and the examples of its module and the tests that
mirror it run on it until one fails. They may take ten seconds more than three
times as long as they do on the unchanged code.

Changes that no test can notice are named in `EQUIVALENT` and not drawn. The
command prints the changes that no test noticed and those whose tests only ran
out of time, which on a busy machine says little, then a table by part.
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
import os
from pathlib import Path
import random
import shlex
import shutil
import sys
import tempfile
import time
from typing import NamedTuple
import warnings

from absl import app, flags, logging

_MODULES = flags.DEFINE_list(
  "modules", [], "files, with :LINE one line of them, or folders; none: all"
)
_SAMPLE = flags.DEFINE_integer(
  "sample", 80, "places to change; 0: every change"
)
_SEED = flags.DEFINE_integer("seed", 0, "of the draw")

ROOT = Path(__file__).resolve().parents[1]
CORE = (
  "control cost/gemms cost/program_cost cost/ledger cost/pairs cost/published "
  "cost/step_memory cost/systolic metrics networks objectives "
  "options/parameters options/spec replay run/checkpoint "
  "run/cursor_json run/evaluation run/generality run/judge run/loop "
  "run/deciding run/dispatch run/pruning run/trainee run/trials run/solving "
  "run/finite run/assembling selection serving streams train"
).split()
# Tests of modules that no test file is named after: paths below tests/, without
# test_ and suffix.
MIRRORS = {
  "cost/pairs": "cost/gemms",
  "streams/manifest": "streams/drifting",
  "run/generality/features": "run/generality/follower",
  "run/generality/follow": "run/generality/follower",
  "metrics/similarity": "metrics/similarity",
  "run/generality/calibrate": "run/generality/prefix_calibration",
  "replay/latents/cache": "replay/latents/latent_cache "
  "replay/latents/latent_source",
  "replay/latents/volumes": "replay/latents/latent_disk",
  "replay/latents/disk": "replay/latents/latent_disk",
  "replay/latents/trunk": "replay/latents/latent_trunk "
  "replay/latents/latent_cache",
  "cost/meters/rails": "cost/meters/rails",
  "cost/meters/meter": "cost/meters/sampled",
  "cost/meters/modelled": "cost/meters/detection",
  "cost/meters/sysfs": "cost/meters/sampled",
  "networks/adapter": "networks/linen networks/nnx",
  "networks/blocks": "networks/architectures",
  "networks/catalogue": "networks/architectures",
  "networks/channels": "networks/shrink",
  "networks/check": "networks/linen networks/nnx",
  "networks/conv1d": "networks/architectures",
  "networks/axes": "networks/axes networks/shrink",
  "networks/layers": "networks/architectures",
  "networks/mlp": "networks/architectures",
  "networks/mobilenet": "networks/architectures",
  "networks/resnet": "networks/architectures",
  "networks/vit": "networks/architectures",
  "networks/mx/layers": "networks/mx/mx_networks",
  "networks/mx/windows": "networks/mx/matmul",
  "objectives/batches": "objectives/supervised",
  "objectives/named": "objectives/readers",
  "options/parameters": "options/spec",
  "objectives/teacher": "objectives/icarl objectives/regularisers",
  "replay/nothing": "replay/memory",
  "replay/tiers/batches": "replay/tiers/tiers replay/tiers/hierarchy_sources",
  "replay/tiers/stream_buffer": "replay/tiers/tiers",
  "selection/chain": "selection/menu",
  "selection/settings": "selection/best selection/elastic",
  "replay/forgetting": "replay/forgetting",
  "networks/sparsity/masked": "networks/sparsity/held_weights",
  "replay/store/check": "replay/store/damage",
  "replay/store/contents": "replay/store/samples_on_disk replay/store/damage",
  "replay/store/names": "replay/store/samples_on_disk replay/store/damage",
  "replay/store/records": "replay/store/samples_on_disk replay/store/damage",
  "replay/store/segments": "replay/store/samples_on_disk replay/store/damage",
  "replay/store/store": "replay/store/samples_on_disk replay/store/damage",
  "replay/store/writer": "replay/store/samples_on_disk replay/store/damage",
  "networks/origin": "networks/expand networks/architectures "
  "run/inference/files",
  "replay/feeds": "replay/removal run/tiers_in_runs",
  "replay/tiers/feed": "replay/feed run/tiers_in_runs",
  "streams/assembly": "streams/scenarios",
  "streams/by_class": "streams/scenarios",
  "streams/by_domain": "streams/scenarios",
  "streams/dialects": "streams/delimited",
  "streams/files": "streams/data_files streams/delimited streams/idx",
  "run/cursor_json": "run/checkpoint",
  "train/actions": "train/pieces",
  "train/kernels/bridge": "train/kernels/bridge train/kernels/lowering",
  "train/kernels/handler": "train/kernels/bridge train/kernels/lowering",
  "train/kernels/onednn": "train/kernels/onednn train/kernels/lowering",
  "train/blocks": "train/pieces",
  "train/calls": "train/pieces",
  "train/choosing": "train/choosing train/learner",
  "train/composed": "train/pieces",
  "train/executors": "train/learner",
  "train/footprint": "train/learner train/pieces",
  "train/optimizer": "train/optimizer train/schedules",
  "train/plan": "train/pieces",
  "train/prices": "run/equal_cost",
  "train/step_spec": "train/step train/learner train/pieces",
  "serving/pictures": "serving/virtual",
  "serving/log": "serving/runs serving/virtual",
  "control/drift/phases": "control/drift/phased serving/virtual serving/live",
  "control/drift/systems": "control/drift/baselines control/drift/systems",
  "serving/books": "serving/books serving/virtual",
  "serving/setup": "serving/models serving/runs serving/setup",
  "serving/measured_times": "serving/virtual",
  "control/drift/times": "serving/virtual control/drift/systems",
  "control/drift/windows": "serving/virtual",
  "run/deciding": "run/loop_parts run/loop run/tiers_in_runs",
  "run/dispatch": "run/loop_parts run/loop",
  "run/evaluation": "run/evaluation run/loop",
  "run/loop": "run/loop run/loop_parts",
  "run/trials": "run/trials run/trial_parts",
  "train/experience": "train/experience run/loop",
  "train/hooks": "train/hooks train/learner",
  "train/scoring": "train/scoring train/evaluate run/judge",
}
# By module: lines in which no change matters, and lines as they read after a
# change that does not matter. They hold sizes of what is read at a time,
# stand-ins for infinity, rounding, and bounds that nothing comes near.
EQUIVALENT: dict[str, set[str]] = {
  # All scores of a table shift alike.
  "jcl/control/choice.py": {
    "] * ( 0 - math.log(energy[i] / energy[median]))",
    "] * ( 2 - math.log(energy[i] / energy[median]))",
    "] * (1 - math.log(energy[i] * energy[median]))",
    # What must be reached is lowered by more than rounding.
    "kept = [i for i in sure if gains[i] > least]",
    # No candidate is that small.
    "least: Sizes = ( -1, 1),",
    "least: Sizes = (0, 0),",
  },
  # A chance is below one, and equal to no other number.
  "jcl/control/drift/eomu.py": {
    "if gain >= 0 or math.exp(gain / (worth(proposed) + 1e-5)) > chance:",
    "if gain > 0 or math.exp(gain / (worth(proposed) + 1e-5)) >= chance:",
  },
  # Room that no file comes near.
  "jcl/networks/instructions.py": {"STEPS = 500001", "STEPS = 499999"},
  # Of two names; whole parts are at least 1, and accuracies at least 0.
  "jcl/control/drift/ekya.py": {
    'if steals <= "every":',
    'if steals <= "every" and count.denominator != 1:',
    'if steals == "every" and count.denominator > 1:',
    'elif steals >= "until_worse":',
    "least = -1.0",
  },
  # Where no higher percentage fits, the default is 1 percent, too.
  "jcl/control/drift/microprofile.py": {
    "max((p for p in range( 2, 101) if seconds(p, n) <= window), default=1)"
  },
  # Of three names; one text for nothing; and truth values.
  "jcl/streams/sources.py": {
    'if one != other and (aspect < "scale" or first.x.dtype == np.uint8):',
    "if only >= also == errors.some([]):",
    "if only == also is errors.some([]):",
    "if only is also == errors.some([]):",
    "if (x_test is None) is not (y_test is None):",
  },
  # Whatever is found was looked for.
  "jcl/streams/cifar.py": {
    'raise files.damaged(place, f"no {sorted(set(names) ^ set(found))} in it")',
  },
  # Any number below 0 stands for none.
  "jcl/streams/by_class.py": {
    "main = np.full(source.train.num_classes, - 2)",
  },
  # The images of a column are all of one kind.
  "jcl/streams/hubs.py": {'if hasattr(values[ -1], "convert"):'},
  # NumPy counts negative positions from the end.
  "jcl/streams/rendering.py": {
    "_ROWS = 256  # frames rendered together",
    # What comes earlier in the alphabet was told apart before.
    'if attributes.place >= "P1":',
    'elif attributes.weather >= "snow":',
    'if attributes.light >= "night":',
    "total += images[:, :, np.where(at < width, at, 1 * width - 1 - at)]",
  },
  # Of capital letters and small ones, of two names, and of two mixes.
  "jcl/streams/drifting.py": {
    'if name >= "none":',
    'way = 1 if name <= "ES1" else -1',
    '_flipped((i + 1) // 2 + (name >= "ES2"), way) for i in range(segments)',
    'if mix <= "A":',
  },
  # There is a record at least, and the first one sets width and first.
  "jcl/streams/dialects.py": {
    "total, width, first, padded = 0, 1, 0, True",
    "total, width, first, padded = 0, -1, 0, True",
    "total, width, first, padded = 0, 0, 1, True",
    "total, width, first, padded = 0, 0, -1, True",
    "if total <= 1:",
    "if total <= 2 and abs(len(fields) - first) == 1:",
    "if total == 2 and abs(len(fields) - first) <= 1:",
    # One known value, and it is a number or not.
    "2 * sum(map(is_number, c)) >= max( 2, sum(f not in _UNSURE for f in c))",
  },
  # More than half of the values are told of before.
  "jcl/streams/delimited.py": {
    "if row == 0 and source.dialect.header and column.notna().sum() > 0:",
    "if row == 0 and source.dialect.header and column.notna().sum() >= 1:",
    "if row <= 0 and source.dialect.header and column.notna().sum() > 1:",
  },
  # Rows are checked part by part, and the first of them only where one is bad.
  "jcl/streams/validation.py": {
    "_ROWS = 4096  # rows checked together, to keep the peak of memory low",
    "count, first = 0, - 2",
    "count, first = 0, - 0",
    "count, first = 0, +1",
  },
  "jcl/streams/sensors.py": {'if test >= "subjects":'},
  # Equal sizes were told apart before, and the kernel is 0 at 1 and at 2.
  "jcl/networks/resize.py": {
    "if size <= side:  # few pixels: a product is faster than to look them up",
    "return np.where(t <= 1, near, np.where(t < 2, far, 0.0))",
    "return np.where(t < 1, near, np.where(t <= 2, far, 0.0))",
  },
  # What mypy alone imports.
  "jcl/serving/pictures.py": {"if not TYPE_CHECKING:"},
  "jcl/train/consolidation.py": {
    "if not TYPE_CHECKING:  # they import `hooks`, which this module builds on",
  },
  # Shapes are traced, whatever the batch and the key are.
  "jcl/train/learner.py": {
    "x = jnp.zeros(( 2, *np.shape(self.example.x)), self.example.x.dtype)",
    *(f"jax.random.key( {key})," for key in (1, -1)),
    *(
      f"return jax.eval_shape(fresh, jax.random.key( {key}))" for key in (1, -1)
    ),
  },
  "jcl/networks/cut.py": {
    "x = jax.ShapeDtypeStruct(( 3, *network.input_shape), jnp.float32)",
    "x = jax.ShapeDtypeStruct(( 1, *network.input_shape), jnp.float32)",
    "params, stats = jax.eval_shape(network.init, jax.random.key( 1))",
    "params, stats = jax.eval_shape(network.init, jax.random.key( -1))",
  },
  **{
    f"jcl/networks/{name}.py": {
      line.format(key) for line in lines for key in ("key( 1)", "key( -1)")
    }
    for name, lines in {
      "pretrained": ["expected = jax.eval_shape(network.init, jax.random.{})"],
      "external": [
        "expected = jax.eval_shape(network.init, jax.random.{})",
        "return _sources(network, jax.eval_shape(network.init, jax.random.{}))",
      ],
      "shrink": [
        "params, _ = jax.eval_shape(init, jax.random.{})",
        "for tree in jax.eval_shape(network.init, jax.random.{}):",
      ],
    }.items()
  },
  "jcl/networks/chain.py": {
    "x = jax.ShapeDtypeStruct(( 3, *input_shape), jnp.float32)",
    "x = jax.ShapeDtypeStruct(( 1, *input_shape), jnp.float32)",
    "params, stats = jax.eval_shape(init, jax.random.key( 1))",
    "params, stats = jax.eval_shape(init, jax.random.key( -1))",
    "x = jax.eval_shape(run, jax.random.key( 1), x)",
    "x = jax.eval_shape(run, jax.random.key( -1), x)",
  },
  # An engine takes 1, 4 or 16 cycles.
  "jcl/cost/systolic.py": {
    "if cycles > 2:  # with one cycle a group the queue never fills",
    "if cycles != 1:  # with one cycle a group the queue never fills",
  },
  # The names of both kinds of files have six bytes or fewer.
  "jcl/streams/tables.py": {"start = opened.read( 7)"},
  # The table puts systems and scenarios in order itself.
  "jcl/serving/runs.py": {
    'by_cell = frame.groupby(["system", "scenario"], sort=True)["score"]',
  },
  # Both of two conditions are their product.
  "jcl/serving/latency.py": {
    "return np.any((spans[:, 0] <= stamps) * (stamps < spans[:, 1]), axis=1)",
  },
  # One number is made, and any number below 0 is less than the first one.
  "jcl/serving/books.py": {
    "return int(sequence.generate_state(1)[ -1])",
    "return int(sequence.generate_state( 2)[0])",
    "kept, correct = self.weights, - 2",
  },
  # Blanks in a file, and a figure that is there wherever the other one is.
  "jcl/serving/log.py": {
    "partial.write_text(json.dumps(fields, indent= 2) + "
    '"\\n", encoding="utf-8")',
    "partial.write_text(json.dumps(fields, indent= 0) + "
    '"\\n", encoding="utf-8")',
    'given = sum(result.get("labelled", 1) for result in judged)',
    'given = sum(result.get("labelled", -1) for result in judged)',
  },
  # One task takes one thread, and a thread that serves is waited for.
  "jcl/serving/live.py": {
    'with futures.ThreadPoolExecutor( 2, "first") as pool:',
    'self._thread = threading.Thread(target=work, name="serve", daemon=False)',
  },
  # A buffer is emptied before a file is cut, and nothing else is written.
  "jcl/replay/tiers/ram.py": {
    'self._file = open(os.memfd_create(name), "r+b", buffering= 1)',
    'self._file = open(os.memfd_create(name), "r+b", buffering= -1)',
    "_PIECE = 2** 19  # bytes that are moved at a time",
    "_PIECE = 1**20  # bytes that are moved at a time",
    "step = max( 2, _PIECE // self.row_bytes)",
  },
  # There are as many test sets as experiences.
  "jcl/metrics/generality.py": {"for t in range(1, accuracy.shape[ 2]):"},
  # Logits have two axes.
  "jcl/control/drift/sampling.py": {
    "return special.softmax(np.asarray(logits, float), axis=+1).max(axis=-1)",
  },
  # No address is negative.
  "jcl/train/kernels/handler.py": {
    "if plan > 0:",
    # More room than is used.
    "_MOST_ARGUMENTS = 9",
    "_MUTEX = 65  # bytes for a mutex, enough on every system",
    "_MUTEX = 63  # bytes for a mutex, enough on every system",
    "buffers = np.empty( 5, np.int64)",
    "passed = np.empty( 3 * _MOST_ARGUMENTS, np.int64)",
  },
  # No digest is that small; and one byte or two are as good as none.
  "jcl/train/kernels/lowering.py": {
    'return int.from_bytes(digest, "little") >> 2 or 0',
    'return int.from_bytes(digest, "little") >> 2 or 2',
    "jax.ShapeDtypeStruct((max(plan.scratch, 2),), jnp.uint8),",
  },
  # Any entry makes the list true; networks have no complex numbers.
  "jcl/train/kernels/rules.py": {
    "taken.append(False)",
    "ctx, lhs, rhs, expand_complex_convolutions=False, **params",
  },
  # Any row will do as a shift.
  "jcl/metrics/similarity.py": {
    "x = x - x[ 1]",
    "x = x - x[ -1]",
  },
  # Below 0 is below 0.
  "jcl/train/profiling/analytic.py": {"default=- 2,"},
  # Nothing, whatever it is divided by.
  "jcl/train/profiling/calibrated.py": {
    "lengths[lengths == 0] = 2.0",
    # The order of the turns.
    "generator = np.random.default_rng( 1)",
  },
  # In the alphabet, the other rules come ahead of this one.
  "jcl/control/drift/systems.py": {
    'recheck = self.drift >= "robust" and kind == "label"',
  },
  # What a pass takes does not depend on what it draws.
  "jcl/train/profiling/timed.py": {
    "key = jax.random.key( 1)",
    "key = jax.random.key( -1)",
  },
  # There is one batch: the first is the last. Any id below 0 is a pad.
  "jcl/replay/tiers/batches.py": {
    "x, y, task, ids, weight = (np.asarray(leaf)[ -1] for leaf in found[:-1])",
    "extras = {name: leaf[ -1] for name, leaf in found.extras.items()}",
    "shape = 2, max(len(rows), 1)",
    'flat["id"] = - 2',
  },
  # Sizes of what is copied at a time; what must become smaller, or larger, and
  # does not, stays as it is; and no id is below 0.
  "jcl/replay/tiers/tiers.py": {
    "_BLOCK = 256  # examples that are copied at a time",
    "if em <= len(self.em):",
    "elif em >= len(self.em):",
    "if experience <= 0:",
    "own = np.where(ids < 0, - 2, ids.astype(np.int64) + self._first)",
    'own = self.hierarchy.trains >= "stream"',
  },
  "jcl/replay/tiers/episodic.py": {
    "_BLOCK = 256  # rows that are read from the store at a time",
  },
  "jcl/replay/tiers/stream_buffer.py": {
    "_BLOCK = 256  # examples that are copied together",
  },
  # Any row below 0 is a pad, and both of two conditions are their product.
  "jcl/replay/tiers/sources.py": {
    "inside = (rows >= -1) & (rows < min(span, self._memory.count))",
    "inside = (rows >= 0) * (rows < min(span, self._memory.count))",
    "inside = (rows >= span) * (rows - span < self._stream.count)",
    "memory = np.where(inside, rows, - 2)",
    "stream = np.where(inside, rows - span, - 2)",
    "stream = np.concatenate([stream, np.full_like(drawn, - 2)], axis=1)",
    "drawn = np.full((self._draws, self._size), - 2, np.int64)",
    "places = np.flatnonzero(slots.reshape(- 2) >= 0)",
    "parts.append((places, tier.take(slots.reshape(- 2)[places])))",
    "return drawn.reshape(- 2)",
    "places = np.flatnonzero(rows.reshape(- 2) >= 0)",
    "ids = self._ids[rows.reshape(- 2)[places]]",
  },
  # Numbers of samples are not negative, a target is below 0 or too large and
  # not both, no interval is 0, and the logarithm of what stands in for a
  # probability of 0 is multiplied by 0.
  "jcl/replay/tiers/exchange_rate.py": {
    "def _check(ratio: float, n: int = 1) -> None:",
    "return ratio * (share if interval >= 0 else 1 - share)",
    "return ratio * (share if interval > -1 else 1 - share)",
    "return (epoch % abs(interval) <= 0) == (interval > 0)",
    "return (epoch % abs(interval) == 0) is (interval > 0)",
    "return (epoch % abs(interval) == 0) == (interval >= 0)",
    "return (epoch % abs(interval) == 0) == (interval > -1)",
    "if ((targets < 0) ^ (targets >= logits.shape[1])).any():",
    "if ((targets < 0) + (targets >= logits.shape[1])).any():",
    "log = np.log(np.where(probability != 0, probability, 1.0))",
    "log = np.log(np.where(probability > 0, probability, 2.0))",
    "half = np.clip(entropy / largest, -1, 1) / 2 if largest else 0 * entropy",
    "scores = gate_scores(logits, labels, max( 2, logits.shape[1]))",
    "fraction = np.round(exact - whole, 10)",
    "fraction = np.round(exact - whole, 8)",
  },
  # In the alphabet, the other names come on one side of these. A class alone
  # has all samples, and where all classes are full no seat is left.
  "jcl/replay/tiers/quotas.py": {
    'if remainder <= "drop":',
    'if remainder >= "spread" or len(set(seats.values())) > 1:',
    'if remainder == "spread" or len(set(seats.values())) != 1:',
    "spare = -1",
    "extra = spare != 0 and len(old) + len(new) > quota",
    "kept = {label: counts[label] * size // max( 2, total)"
    " for label in counts}",
    "counts, key=lambda label: (-(counts[label] * size % max( 2, total)),"
    " label)",
    "levels = range(max(most.values(), default= 1) + 1)",
    "levels = range(max(most.values(), default=0) + 2)",
  },
  "jcl/replay/tiers/feed.py": {
    'return self.tiers.hierarchy.gate < "random"',  # the last of the names
  },
  "jcl/replay/tiers/admission.py": {'if hierarchy.keep <= "greedy":'},
  # As for quotas; no more are found than are looked for, and where nothing
  # leaves nothing is asked for.
  "jcl/replay/tiers/exchanger.py": {
    'gated = self._hierarchy.gate <= "hard" or (',
    'self._hierarchy.gate <= "late" and part >= 0.5',
    "if len(found) >= count:",
  },
  # There is room for what is pending.
  "jcl/replay/tiers/reader.py": {
    "room = max(self._capacity - len(self.coming), -1)",
  },
  # What is no number is no limit, either; numbers come ahead of it in the
  # alphabet. Units are two, groups are repeated, and the first value is read.
  "jcl/replay/tiers/limits.py": {
    'if text >= "max" or int(text) >= _V1_NONE:',
    'if text > "max" or int(text) >= _V1_NONE:',
    'if number <= "0":',
    'if unit <= "bytes":',
    'if unit >= "joules":',
    "for depth in range(len(parts) + 2):",
    "value, until = 1.0, -math.inf",
    "value, until = -1.0, -math.inf",
    'lambda: min(limit() for limit in limits), "", limits[ -1].unit',
  },
  # An address of a record is 8 or more.
  "jcl/replay/store/check.py": {
    'known = columns["offset"][:count] > 1',
    'known = columns["offset"][:count] != 0',
  },
  # Equal shares are no fall, and a completion is not negative.
  "jcl/control/swap.py": {
    "if not made | late:",
    "if not 0 <= completion != math.inf:",
    'verb = "lags" if state["target"] <= before else "keeps up"',
    "return target, calm | 1",
    "return target, calm ^ 1",
    'if seen.moment >= "experience":',
  },
  # Epochs are counted from 0, and looks never become fewer.
  "jcl/control/stopping.py": {
    "if not 0 != done < epochs:",
    "return LOOKS * done // epochs > LOOKS * (done - 1) // epochs",
    "return LOOKS * done // epochs is not LOOKS * (done - 1) // epochs",
    'if seen.moment >= "experience":',
  },
  "jcl/control/limits.py": {'if seen.moment <= "epoch":'},
  "jcl/control/verdict.py": {'if judge <= "accuracy":'},
  "jcl/control/drift/accounting.py": {
    "last = np.maximum.accumulate(np.where(taken, np.arange(len(truth)), - 2))"
  },
  # The unit at this depth trains already.
  "jcl/selection/menu.py": {"later = units[depth + 0 :]"},
  "jcl/run/generality/probe.py": {
    "_BATCH = 256  # examples of a forward pass",
    "linear_model.LogisticRegression(max_iter= 1001),",
    "linear_model.LogisticRegression(max_iter= 999),",
  },
  # "pq" comes ahead of the other names; a bit is 0 or 1; a value lies on one
  # side of the range.
  "jcl/replay/latents/codecs.py": {
    "return self.row_shape[ -1]",
    'if kind not in ("raw", "uint8", "pq") or bool(size) != (kind <= "pq"):',
    'if kind >= "uint8":',
    "codes = self._codes(z).reshape(len(z), - 2)",
    "return int(((codes < -0.5) ^ (codes > 255.5)).any(axis=1).sum())",
    "return int(((codes < -0.5) + (codes > 255.5)).any(axis=1).sum())",
    "places = jnp.maximum(jnp.cumsum(held, axis=1) - 1, -1)",
    "values = jnp.where(held >= 1, found, 0.0)",
    "if len(vectors) >= _SUBVECTORS:",
  },
  # Room that nothing is written to, and places below 0, which are none.
  "jcl/replay/latents/cache.py": {
    "self._viewed = 1  # rows of all views",
    "self._rows = np.empty(( 1, *codec.row_shape), codec.dtype)",
    "if self._held + count >= len(self._rows):",
    "self.slots = np.full(len(x), - 2, np.int32)  # in the cache; -1: not held",
    "return codes if np.ndim(rows) else codes[ -1]",
  },
  "jcl/train/experience.py": {
    "_EXTRACT = 500  # examples per batch when features are read for a memory",
  },
  # With the records that it needs, a follower has read features, too.
  "jcl/run/generality/follow.py": {
    "self._before: tuple[int, generality.Features] = (+1, ())",
    "self._before: tuple[int, generality.Features] = (~1, ())",
    "self._before: tuple[int, generality.Features] = (- 2, ())",
    "self._before: tuple[int, generality.Features] = (- 0, ())",
  },
  "jcl/objectives/bias.py": {
    "_ROWS = 500  # examples per forward pass",
    "_STEPS = 20  # Newton's, each with a line search",
    "_HALVINGS = 8  # of a step, at most",
  },
  "jcl/objectives/group_lasso.py": {
    "if leaf.ndim >= 2 and leaf.shape[-back] != 1",
  },
  # Nothing is divided; a decay of 1 changes no weight; what is not taken weighs
  # nothing; and the array has one axis.
  "jcl/objectives/statistics.py": {
    "first = _product(weight, x) / "
    "jnp.where(jnp.any(taken), jnp.sum(weight), 2)",
    "if decay <= 1:",
    "if decay < 1:",
    "if decay != 0:",
    "if decay != 2:",
    "rows = jnp.where(taken[:, None], x - shift, 1.0)",
    "rows = jnp.where(taken[:, None], x - shift, -1.0)",
    "member = jax.nn.one_hot(y, sums.rows.shape[ -1], dtype=jnp.float32)",
  },
  # The bounds within which a root is looked for.
  "jcl/objectives/temperature.py": {
    "while slope(most) < 0 != over(most):",
    "while slope(most) < 0 <= over(most):",
    "most *= 3",
    "best = scipy.optimize.brentq(slope, -1.0, most)",
    "best = scipy.optimize.brentq(over, -1.0, best)",
    "if over(best) <= 0:",
  },
  "jcl/objectives/projection.py": {
    "scale = along / jnp.where(norm > 0, norm, 2.0)",
  },
  "jcl/objectives/losses.py": {
    "MASKED = - 1000000001.0",
    "MASKED = - 999999999.0",
    "return jnp.sum(values * weight) / jnp.where(total > 0, total, 2.0)",
  },
  # Rows of one of each class have no scatter beyond rounding.
  "jcl/objectives/closed_form.py": {
    "if shrink <= 0 and free < width:",  # no share is negative
    "if strength <= 0 and rows < width:",
    "if free == 0 or not _varies(sums, scatter):",
    "if free < 0 or not _varies(sums, scatter):",
    "if free <= -1 or not _varies(sums, scatter):",
    "if free >= 0 and _varies(sums, scatter):",
    "if free != 0 and _varies(sums, scatter):",
    "if free > -1 and _varies(sums, scatter):",
  },
  # No shape depends on the key.
  "jcl/objectives/keeping.py": {
    "params, stats = jax.eval_shape(network.init, jax.random.key( 1))",
    "params, stats = jax.eval_shape(network.init, jax.random.key( -1))",
  },
  "jcl/objectives/solved_head.py": {
    "_AT_ONCE = 501  # examples per forward pass",
    "_AT_ONCE = 499  # examples per forward pass",
  },
  # No bytes, at whatever price; and a first round begins with all candidates.
  "jcl/run/trials.py": {
    "choice.joules(em, sb, epochs, batch, joules, -1.0, 0.0, 0.0),",
    "choice.joules(em, sb, epochs, batch, joules, 1.0, 0.0, 0.0),",
    "choice.joules(em, sb, epochs, batch, joules, 0.0, -1.0, 0.0),",
    "choice.joules(em, sb, epochs, batch, joules, 0.0, 1.0, 0.0),",
    "best = sorted(states, key=lambda i: (-scores.get(i, -1.0), i))[:count]",
    "best = sorted(states, key=lambda i: (-scores.get(i, 1.0), i))[:count]",
  },
  "jcl/run/checkpoint.py": {
    "keep: int = 1,",  # two at least
    "enable_async_checkpointing=False,",  # only slower
  },
  "jcl/objectives/predictors.py": {
    "NEVER = - 1000000001.0",
    "NEVER = - 999999999.0",
    "_ROWS = 500  # exemplars per forward pass",
  },
  "jcl/replay/balanced.py": {
    "_EMPTY = - 2  # label of a slot that holds nothing",
  },
  "jcl/replay/memory.py": {
    'last = jnp.full(capacity, - 2).at[slots].max(rows, mode="drop")',
    'last = jnp.full(capacity, - 0).at[slots].max(rows, mode="drop")',
    'wins = last.at[slots].get(mode="fill", fill_value=- 2) == rows',
    'wins = last.at[slots].get(mode="fill", fill_value=- 0) == rows',
  },
  "jcl/replay/reservoir.py": {
    "draw = jax.random.randint(key, weight.shape, 0, jnp.maximum(total, 0))",
  },
  "jcl/replay/sampling.py": {"allowed = state.items.weight != 0"},
  "jcl/options/spec.py": {
    "close = difflib.get_close_matches(name[:100], list(choices), n= 2)",
  },
  "jcl/replay/store/index.py": {
    "_CHUNK = 2** 21  # records that a pass over the index handles at a time",
    "_CHUNK = 2** 19  # records that a pass over the index handles at a time",
    "_CHUNK = 3**20  # records that a pass over the index handles at a time",
    "_CHUNK = 1**20  # records that a pass over the index handles at a time",
    "narrow = np.uint16 if num_labels < 2**16 else np.uint32"
    "  # sorts much faster",
    'if count < len(self.columns["offset"]):',
    "default=-1,",  # room for a class of which there is no record
    'kept = columns["offset"][part] > 1',
    'kept = columns["offset"][part] != 0',
    '& (columns["offset"][groups.count : count] > 1)',
    '& (columns["offset"][groups.count : count] != 0)',
    "kept = np.flatnonzero(offsets[part] > 1)",
    "kept = np.flatnonzero(offsets[part] != 0)",
    "order = np.empty(starts[-1], np.uint32 if count < 2** 33 else np.int64)",
    "order = np.empty(starts[-1], np.uint32 if count < 2** 31 else np.int64)",
    "order = np.empty(starts[-1], np.uint32 if count < 3**32 else np.int64)",
    'if crc != found[0]["crc"] or file.read( 2):',
  },
  # A record takes 40 bytes and begins at a multiple of 8 behind a header.
  "jcl/replay/store/segments.py": {
    "start += max(len(piece) // 8 * 8, 9)",
    "start += max(len(piece) // 8 * 8, 7)",
    "while at + head_size <= size:",
    "if at <= 0:",
    "self._start <= start and start + size <= self._start & len(self._data)",
    "_WINDOW = 2** 23  # bytes that a scan holds at a time, at least",
    "_WINDOW = 2** 21  # bytes that a scan holds at a time, at least",
    "_WINDOW = 3**22  # bytes that a scan holds at a time, at least",
  },
  "jcl/replay/store/store.py": {
    "_SMALL = 2**14",
    "_SLOW, _SLOW_BYTE = 2e-5, 1e-9",
    "slow = _SLOW + size * _SLOW_BYTE",
    "if ahead and i % 8 == 1:",
    "if now - begun > slow * (i - checked):",
    "for rest in range(i, len(files)):",
    'return np.flatnonzero(found & (columns["offset"][:count] > 1))',
    'return np.flatnonzero(found & (columns["offset"][:count] != 0))',
  },
  # Threads that decode; Python knows the number of processors here. All values
  # of an image without a range are 0, and an image that tells no orientation
  # is as it is.
  "jcl/streams/images.py": {
    "values *= 255 / ((range[1] - range[0]) or 2)",
    "orientation = image.getexif().get(ExifTags.Base.Orientation, 0)",
    "return image if orientation <= 1 else ImageOps.exif_transpose(image)",
    'several=getattr(image, "n_frames", 0) > 1,',
    "return futures.ThreadPoolExecutor(min( 7, os.cpu_count() or 1))",
    "return futures.ThreadPoolExecutor(min( 9, os.cpu_count() or 1))",
    "return futures.ThreadPoolExecutor(min(8, os.cpu_count() or 0))",
    "return futures.ThreadPoolExecutor(min(8, os.cpu_count() or 2))",
  },
  "jcl/streams/stream.py": {"_ROWS = 1024  # read together for statistics"},
  "jcl/streams/views.py": {
    "inside = (r >= 0) & (r < height) & (c >= 0) & (c < width) & (weight >= 0)",
  },
  "jcl/train/augment.py": {
    # A window as deep as the image begins at channel 0, whatever is asked for.
    "start = (offset[0], offset[1], 1)",
    "start = (offset[0], offset[1], -1)",
    "offsets = jax.random.randint(key, (x.shape[0], 2), 0, 2 * padding | 1)",
  },
  "jcl/train/scoring.py": {"EVALUATION_BATCH = 500", "JUDGED_BATCH = 64"},
  "jcl/train/step.py": {
    "total = jnp.maximum(sum(weights), 1.000000001)",
  },
}


def main(argv: list[str]) -> None:
  if argv[1:]:
    raise app.UsageError(f"unexpected arguments {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder) / "jcl"
    _copy(copy)
    os.chdir(copy)
    report(run(draw(changes(_MODULES.value), _SAMPLE.value, _SEED.value)))


def tests_of(module: Path) -> list[Path]:
  """Returns the test files that mirror a module; paths from the root.

  Test files named after the module, or all in its folder where there are none.
  """
  inside = module.relative_to("jcl").with_suffix("")
  if mirrors := MIRRORS.get(inside.as_posix()):
    names = [Path("tests", name) for name in mirrors.split()]
    return [path.with_name(f"test_{path.name}.py") for path in names]
  folder = ROOT / "tests" / inside.parent
  exact = folder / f"test_{inside.name}.py"
  found = [exact] if exact.exists() else []
  found = found or list(folder.glob(f"test_*{inside.name}*.py"))
  found = found or list(folder.glob("test_*.py"))
  return sorted(path.relative_to(ROOT) for path in found)


def modules(wanted: Sequence[str] = ()) -> dict[Path, int | None]:
  """Returns the wanted files below the root, each with its line, or None."""
  found: dict[Path, int | None] = {}
  for name in wanted or [f"jcl/{part}" for part in CORE]:
    name, _, line = name.partition(":")
    path = Path(name)
    if (ROOT / path).is_dir():
      inside = sorted((ROOT / path).rglob("*.py"))
      found |= {
        file.relative_to(ROOT): None for file in inside if file.stem[0] != "_"
      }
    else:
      found[path.with_suffix(".py")] = int(line) if line else None
  return found


def _copy(to: Path) -> None:
  """Copies the files that tests need; compiled programs are shared."""
  ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "runs")
  shutil.copytree(ROOT, to, ignore=ignored)
  compiled = ROOT / ".pytest_cache" / "compiled"
  compiled.mkdir(parents=True, exist_ok=True)
  (to / ".pytest_cache").mkdir()
  (to / ".pytest_cache" / "compiled").symlink_to(compiled.resolve())


def changes(wanted: Sequence[str]) -> list:
  """Lists all changes of what is wanted, as Cosmic Ray's specifications."""
  return [
    change
    for path, line in sorted(modules(wanted).items())
    for change in _changes(path)
    if line in (None, change.start_pos[0])
  ]


def _changes(path: Path) -> Iterator:
  from cosmic_ray import plugins
  from cosmic_ray.ast import ast_nodes, get_ast_from_path
  from cosmic_ray.work_item import MutationSpec

  nodes = [
    node
    for node in ast_nodes(get_ast_from_path(path))
    if node.type not in ("name", "newline", "string")  # nothing changes them
  ]
  annotations = list(_annotations(path))
  for name in plugins.operator_names():
    kind = plugins.get_operator(name)
    if kind.arguments():
      continue
    positions = [at for node in nodes for at in kind().mutation_positions(node)]
    for occurrence, (start, end) in enumerate(positions):
      if not any(first <= start < last for first, last in annotations):
        yield MutationSpec(path, name, occurrence, start, end)


def _annotations(path: Path) -> Iterator[tuple]:
  """Yields where annotations begin and end, as (line, column)."""
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.ClassDef) and any(
      isinstance(base, ast.Name) and base.id == "Protocol"
      for base in node.bases
    ):  # annotations from its first line to its last
      yield (node.lineno, 0), (node.end_lineno, node.end_col_offset)
    for field in ("annotation", "returns"):
      if (note := getattr(node, field, None)) is not None:
        yield (
          (note.lineno, note.col_offset),
          (note.end_lineno, note.end_col_offset),
        )


def draw(found: list, sample: int, seed: int) -> Iterator:
  """Draws changes, each in another place; with a sample of 0, all changes.

  Changes that are no Python, that Python warns of, that are named in
  `EQUIVALENT`, or that take checks of lengths or of assignments away are passed
  over.
  """
  places = defaultdict(list)
  for change in found:
    places[change.module_path, change.start_pos].append(change)
  generator, taken = random.Random(seed), 0
  for place in generator.sample(sorted(places), len(places)):
    options = generator.sample(places[place], len(places[place]))
    for change in filter(_counts, options):
      yield change
      taken += 1
      if taken == sample:
        return
      if sample:
        break


def _counts(change) -> bool:
  from cosmic_ray.mutating import mutate_code
  from cosmic_ray.plugins import get_operator

  before = change.module_path.read_text(encoding="utf-8")
  operator = get_operator(change.operator_name)(**change.operator_args)
  try:
    after = mutate_code(before, operator, change.occurrence)
    with warnings.catch_warnings():
      # Python warns of "is" beside a text or a number: these may be one object.
      warnings.simplefilter("error", SyntaxWarning)
      compile(after, change.module_path, "exec")
  except (AttributeError, SyntaxError):  # it takes exceptions for plain names
    return False
  line, column = change.start_pos
  whole = before.splitlines()[line - 1]
  # Right code passes checks of lengths and assigns nothing to a record, so no
  # test can notice that these are off. And the star ahead of parameters by name
  # is no operator.
  checks = whole[:column].endswith(("strict=", "frozen="))
  if checks or whole.startswith("*,", column):
    return False
  lines = {text.splitlines()[line - 1].strip() for text in (before, after)}
  return not lines & EQUIVALENT.get(change.module_path.as_posix(), set())


class Tried(NamedTuple):
  """What became of a change."""

  module: Path
  noticed: bool
  late: bool  # noticed only in that the tests ran out of time


def run(drawn: Iterable) -> Iterator[Tried]:
  """Tries changes; prints those that no test noticed, or time alone."""
  from cosmic_ray.mutating import mutate_and_test
  from cosmic_ray.testing import run_tests
  from cosmic_ray.work_item import TestOutcome

  limits: dict[str, float] = {}
  for change in drawn:
    tests = tests_of(change.module_path)
    if not tests:
      raise SystemExit(f"{change.module_path}: no tests mirror it")
    examples = ["--doctest-modules", str(change.module_path)]
    if ">>>" not in change.module_path.read_text(encoding="utf-8"):
      examples = []
    command = shlex.join(
      [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider"]
      + examples
      + [str(path) for path in tests]
    )
    if command not in limits:
      start = time.monotonic()
      outcome, output = run_tests(command, 3600)
      if outcome is not TestOutcome.SURVIVED:
        raise SystemExit(f"{command}\nfails unchanged:\n{output[-2000:]}")
      limits[command] = 10 + 3 * (time.monotonic() - start)
    result = mutate_and_test([change], command, limits[command])
    if result.test_outcome is TestOutcome.INCOMPETENT:
      raise SystemExit(result.output)
    late = result.output == "timeout"
    if late or not result.is_killed:
      where = f"{change.module_path}:{change.start_pos[0]}"
      kept = [line for line in result.diff.splitlines() if line[:1] in "+-"]
      if late:
        where += ": the tests ran out of time"
      print(where, *kept[3:], sep="\n", flush=True)
    yield Tried(change.module_path, result.is_killed, late)


def report(results: Iterable[Tried]) -> None:
  """Prints how many changes were noticed, and how many by time alone."""
  tried, noticed, late = Counter(), Counter(), Counter()
  for result in results:
    for part in (result.module.with_suffix("").parts[1], "all"):
      tried[part] += 1
      noticed[part] += result.noticed
      late[part] += result.late
  for part in sorted(tried, key=lambda part: (part == "all", part)):
    share = noticed[part] / tried[part]
    print(
      f"{part:12} {noticed[part]:4} of {tried[part]:4} noticed {share:5.0%}, "
      f"{late[part]:2} by time alone"
    )


if __name__ == "__main__":
  app.run(main)
