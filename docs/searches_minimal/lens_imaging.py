"""Simulated imaging of a strong lens, and the models that are fitted to it."""

import logging
import os

# XLA's FFT on CPUs can deadlock when two of them run at once, as they may in a lens likelihood.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import autofit as af
import autolens as al
import matplotlib
from autogalaxy.analysis.model_util import mge_model_from

matplotlib.use("Agg")
logging.getLogger("jax").setLevel(logging.ERROR)

EINSTEIN_RADIUS = 1.2
RADIUS = 1.9  # of the mask, in arc seconds
IMAGES_OF_THE_SOURCE = [(1.22, -0.03), (-0.61, -0.82), (1.09, 0.54), (-0.44, 1.25)]


def simulated_imaging(
    pixels_across: int = 40,
    pixel_scale: float = 0.1,
    radius: float = RADIUS,
    psf_shape: tuple[int, int] = (5, 5),
    psf_sigma: float = 0.1,
    exposure_time: float = 30.0,
    sky: float = 1.0,
) -> al.Imaging:
    """A Sersic lens galaxy with isothermal mass and shear in front of a Sersic source."""
    lens = al.Galaxy(
        redshift=0.5,
        bulge=al.lp.Sersic(ell_comps=(0.05, 0.03), intensity=0.5, effective_radius=0.8, sersic_index=3.0),
        mass=al.mp.Isothermal(einstein_radius=EINSTEIN_RADIUS, ell_comps=(0.1, 0.05)),
        shear=al.mp.ExternalShear(gamma_1=0.03, gamma_2=-0.02),
    )
    source = al.Galaxy(
        redshift=1.0,
        bulge=al.lp.Sersic(
            centre=(0.05, 0.1), ell_comps=(0.1, -0.05), intensity=1.0, effective_radius=0.3, sersic_index=1.5
        ),
    )
    shape = (pixels_across, pixels_across)
    simulator = al.SimulatorImaging(
        exposure_time=exposure_time,
        psf=al.Convolver.from_gaussian(shape_native=psf_shape, sigma=psf_sigma, pixel_scales=pixel_scale),
        background_sky_level=sky,
        noise_seed=1,
    )
    dataset = simulator.via_tracer_from(
        tracer=al.Tracer(galaxies=[lens, source]),
        grid=al.Grid2D.uniform(shape_native=shape, pixel_scales=pixel_scale, over_sample_size=1),
    )
    mask = al.Mask2D.circular(shape_native=shape, pixel_scales=pixel_scale, radius=radius)
    return dataset.apply_mask(mask).apply_over_sampling(1)


def lens_model(light: str = "sersic") -> af.Collection:
    """
    Priors as wide as somebody would choose who has looked at the image, and one of three kinds of light.

    ``sersic``: Sersic profiles of lens and source. ``mge``: both are sums of ten Gaussians, whose intensities are
    solved for in each evaluation. ``pixelised``: a source of 6 by 6 pixels, solved for too, as it comes at the end of
    a chain of searches: the shape of the lens light is fixed, and the mass is roughly known.
    """
    if light == "sersic":
        bulge = af.Model(al.lp.Sersic)
        bulge.intensity = af.LogUniformPrior(0.05, 5.0)
        bulge.effective_radius = af.UniformPrior(0.1, 3.0)
    else:
        bulge = mge_model_from(mask_radius=RADIUS, total_gaussians=10)
    if light == "pixelised":
        bulge = bulge.instance_from_vector([0.0, 0.0, 0.05, 0.03])
    mass = af.Model(al.mp.Isothermal)
    mass.einstein_radius = af.UniformPrior(1.0, 1.4) if light == "pixelised" else af.UniformPrior(0.5, 2.0)
    source_light = _source_light(light)
    return af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, bulge=bulge, mass=mass, shear=al.mp.ExternalShear),
            source=af.Model(al.Galaxy, redshift=1.0, **source_light),
        )
    )


def _source_light(light: str) -> dict:
    if light == "pixelised":
        mesh = al.mesh.RectangularUniform(shape=(6, 6))
        return {"pixelization": af.Model(al.Pixelization, mesh=mesh, regularization=al.reg.Constant)}
    if light == "mge":
        return {"bulge": mge_model_from(mask_radius=1.0, total_gaussians=10)}
    bulge = af.Model(al.lp.Sersic)
    bulge.intensity = af.LogUniformPrior(0.05, 10.0)
    bulge.effective_radius = af.UniformPrior(0.05, 1.0)
    return {"bulge": bulge}


def analysis(light: str = "sersic") -> al.AnalysisImaging:
    """With a pixelised source, models that do not bring its images together are penalised, as autolens asks for."""
    settings = {}
    if light == "pixelised":
        images = al.Grid2DIrregular(IMAGES_OF_THE_SOURCE)
        settings["positions_likelihood_list"] = [al.PositionsLH(positions=images, threshold=0.3)]
    return al.AnalysisImaging(dataset=simulated_imaging(), use_jax=True, **settings)
