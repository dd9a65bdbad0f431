//! A worker and nothing else, for the tests: what `rushes frames-worker` is in the product.

fn main() {
    frames::worker_main();
}
