"""The command line of a checkout: `python run.py` is `jcl learn`.

Without flags: the ten digits of scikit-learn in five experiences of two, by
experience replay and, beside it, by plain fine-tuning.

  python run.py
  python run.py --recipe=derpp:buffer=500 --compare=er:buffer=500 --seed=0,1,2
  python run.py --data=fashion_mnist --data_dir=~/data --model=mlp:width=400
  python run.py --estimate            what it would take, without learning
  python run.py --list                every recipe, data set, stream, model
  python run.py report DIR...         rebuilds the report of finished runs
  python run.py serve dacapo frozen   serves a drifting stream while learning

`python run.py --help` lists the flags. The same command again goes on where it
stopped, also after a kill.
"""

from jcl.cli import start

if __name__ == "__main__":
  start.with_huge_pages(__file__)

from jcl.cli import main as cli

FLAGS, main = cli.FLAGS, cli.main

if __name__ == "__main__":
  cli.run(cli.RUN_PY)
