"""A fit of half a minute to look at: on a terminal, in a log file, in a notebook, and in its folder of pictures.

python docs/searches_minimal/nss_monitoring.py            # a bar
python docs/searches_minimal/nss_monitoring.py 2>&1 | cat  # lines of a log
"""

from pathlib import Path
from tempfile import mkdtemp

import autofit as af
from profile_1d import Analysis, noisy_profile, profile_model

af.conf.instance.output_path = Path(mkdtemp(prefix="nss_monitoring_"))

search = af.NSS(
    name="profile",
    n_live=3000,
    num_delete=20,
    num_mcmc_steps=20,
    iterations_per_quick_update=500,
    iterations_per_full_update=1000,
)
result = search.fit(model=profile_model(), analysis=Analysis(noisy_profile()))

info = result.samples.samples_info
for name in ("converged", "jump", "log_evidence_excess", "log_evidence_nested", "log_evidence_importance"):
    print(f"{name:25}{info[name]}")
