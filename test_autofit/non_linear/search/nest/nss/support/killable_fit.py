"""A user's script for the tests to kill.

    python killable_fit.py OUTPUT_FOLDER RESULT_FILE [CHUNK_SIZE [NUM_DELETE]]

Where several processes run it together, each writes a result file of its own.
"""

import sys
from pathlib import Path

import autofit as af
import numpy as np
from together import initialize


def fit(output_path: Path, result: Path, chunk_size: int | None = None, num_delete: int = 10) -> None:
    process = initialize()
    from problems import two_modes  # which computes, and so comes after

    af.conf.instance.output_path = output_path
    af.conf.instance["output"]["latent_after_fit"] = False
    af.conf.instance["visualize"]["plots_search"]["nest"]["corner_anesthetic"] = False
    problem = two_modes()
    settings = dict(n_live=500, num_delete=num_delete, num_mcmc_steps=5, checkpoint_interval=5)
    search = af.NSS(name="killed", chunk_size=chunk_size, **settings)
    samples = search.fit(model=problem.model, analysis=problem.analysis).samples
    np.savez(
        result.with_stem(f"{result.stem}{process or ''}"),
        positions=np.array(samples.parameter_lists),
        log_likelihoods=np.array(samples.log_likelihood_list),
        weights=np.array(samples.weight_list),
        log_evidence=samples.log_evidence,
        evaluations=samples.samples_info["total_samples"],
    )


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
