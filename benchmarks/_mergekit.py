"""The peer: mergekit's task arithmetic, run by the Python of an environment of its own."""

import subprocess

RECIPE = """\
merge_method: task_arithmetic
base_model: {base}
models:
  - model: {ranker}
    parameters: {{weight: 1.0}}
  - model: {domain}
    parameters: {{weight: {alpha}}}
dtype: {dtype}
"""


def command(python, triple, alpha, dtype, out, recipe):
    """Returns the command line of Θ_0 + 1·(Θ_T − Θ_0) + α·(Θ_D − Θ_0), mergekit's way to write the equation.

    Args:
        python: The interpreter of mergekit's environment.
        triple: The three folders.
        alpha: α.
        dtype: Of arithmetic and output.
        out: The folder to write.
        recipe: Where mergekit's YAML file goes.
    """
    recipe.write_text(RECIPE.format(base=triple.base, ranker=triple.ranker, domain=triple.domain, alpha=alpha,
                                    dtype=dtype))
    return [python, "-c", "from mergekit.scripts.run_yaml import main; main()", recipe, out]


def version(python):
    """Returns the versions of mergekit, torch and transformers in its environment."""
    names = ("mergekit", "torch", "transformers")
    asked = "import importlib.metadata as m, sys; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    return subprocess.run([python, "-c", asked, *names], check=True, capture_output=True, text=True).stdout.strip()
