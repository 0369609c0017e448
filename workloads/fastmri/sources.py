"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

SOURCES = (
    DatasetSource(
        dataset="fastmri",
        title="fastMRI knee, single coil",
        creators="Zbontar, Knoll et al. (NYU Langone Health and Facebook AI Research, 2018)",
        homepage="https://fastmri.med.nyu.edu",
        license=License(
            name="fastMRI data sharing agreement",
            url="https://fastmri.med.nyu.edu",
            note="internal research or educational use only; the data may not be passed on",
        ),
        access=("fill in the form at https://fastmri.med.nyu.edu; the links come by e-mail and expire after 90 days"),
        files=(
            RemoteFile(
                name="knee_singlecoil_train.tar.xz",
                url_flag="fastmri_knee_singlecoil_train_url",
                num_bytes=75_000_000_000,
                size_is_exact=False,
            ),
            RemoteFile(
                name="knee_singlecoil_val.tar.xz",
                url_flag="fastmri_knee_singlecoil_val_url",
                num_bytes=15_000_000_000,
                size_is_exact=False,
            ),
        ),
        store_bytes=60_000_000_000,
        unpacked_bytes=110_000_000_000,
        core_hours=3.0,
        core_hours_basis="estimated",
    ),
)
