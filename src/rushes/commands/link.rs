use hyper::Method;
use serde_json::json;

use super::text;
use crate::{Failure, cli::ClientArgs, client::Client};

/// A fresh link into the console, for whoever holds the root key.
pub async fn run(args: ClientArgs) -> Result<(), Failure> {
    let c = Client::new(&args)?;
    let v = c.call(Method::POST, "/v1/session/link", Some(json!({}))).await?;
    let url = c.absolute(text(&v, "path"));
    if args.json {
        println!("{:#}", json!({"url": url}))
    } else {
        println!("{url}")
    }
    Ok(())
}
