"""Entries of a run's folder, as the parts that write them list their own."""

from jcl.replay import feeds
from jcl.report import hierarchy
from jcl.run import checkpoint, claims, curve, measurements
from jcl.run.generality import follow
from jcl.run.inference import files as models

# The folder's own: written by `workdir.Folder`.
OWN = ("events", "records.jsonl", "selections.png", "summary.json")

# Whatever run made the folder, with whatever recipe: a run that starts over in
# it removes all of these.
ALL = (
  *OWN,
  *checkpoint.FILES,
  *claims.FILES,
  *curve.FILES,
  *measurements.FILES,
  *follow.FILES,
  *models.FILES,
  *feeds.FILES,
  *hierarchy.FILES,
)
