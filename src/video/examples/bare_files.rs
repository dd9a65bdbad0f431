//! A bare hyper server that answers with stretches of files, for `make bench` to compare with:
//! `bare_files DIR`; then `GET /NAME/OFFSET/LENGTH`. Prints its address.
#![allow(clippy::unwrap_used, reason = "a benchmark: an error ends it")]

use std::{os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};

async fn stretch(
    State(dir): State<Arc<PathBuf>>,
    Path((name, offset, len)): Path<(String, u64, usize)>,
) -> Vec<u8> {
    let read = move || {
        let file = std::fs::File::open(dir.join(name)).unwrap();
        let mut b = vec![0; len];
        file.read_exact_at(&mut b, offset).unwrap();
        b
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::main]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("bare_files DIR"));
    let app = Router::new().route("/{name}/{offset}/{len}", get(stretch)).with_state(Arc::new(dir));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}
