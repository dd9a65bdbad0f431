use hyper::Method;
use serde_json::{Value, json};

use super::{recorded, segment, short, table, text, tracks};
use crate::{
    Failure,
    cli::{CameraCommand, ClientArgs},
    client::Client,
};

fn show(v: &Value, json: bool) {
    if json {
        println!("{v:#}");
        return;
    }
    println!("{}", text(v, "name"));
    let source = match text(&v["source"], "kind") {
        "push" => "publishes to Rushes".to_owned(),
        _ => text(&v["source"], "url").to_owned(),
    };
    println!(
        "  source    {source}\n  state     {}: {}\n  tracks    {}",
        text(v, "state"),
        text(v, "detail"),
        tracks(v)
    );
    println!("  units     {} in, {} out, {} packets lost", v["unitsIn"], v["unitsOut"], v["lost"]);
    if let Some(w) = v["clockWarning"].as_str() {
        println!("  clock     {w}");
    }
    let r = recorded(v);
    println!(
        "  recorded  {}{}",
        r[0],
        if r[1].is_empty() { String::new() } else { format!(" to {}, {}", r[1], r[2]) }
    );
    if let Some(u) = v["publishUrl"].as_str() {
        println!(
            "\nPublish to it with this URL, which is shown only now and is good for this stream alone:\n  {u}"
        );
        println!("For example:\n  ffmpeg -re -i video.mp4 -c copy -f rtsp -rtsp_transport tcp '{u}'");
    }
}

async fn patch(name: &str, client: ClientArgs, body: Value) -> Result<(), Failure> {
    let v = Client::new(&client)?
        .call(Method::PATCH, &format!("/v1/cameras/{}", segment(name)), Some(body))
        .await?;
    show(&v, client.json);
    Ok(())
}

pub async fn run(command: CameraCommand) -> Result<(), Failure> {
    match command {
        CameraCommand::List(args) => {
            let v = Client::new(&args)?.call(Method::GET, "/v1/cameras", None).await?;
            if args.json {
                println!("{v:#}");
                return Ok(());
            }
            let rows: Vec<_> = v["cameras"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| {
                    vec![
                        text(c, "name").to_owned(),
                        text(c, "state").to_owned(),
                        text(c, "detail").to_owned(),
                        short(text(c, "lastFrame")),
                    ]
                })
                .collect();
            table(&["CAMERA", "STATE", "DETAIL", "LAST FRAME"], &rows);
        }
        CameraCommand::Add { name, url, push: _, transport, tls_insecure, client } => {
            let source = match url {
                Some(url) => {
                    json!({"kind": "pull", "url": url, "transport": transport, "tlsInsecure": tls_insecure})
                }
                None => json!({"kind": "push"}),
            };
            let v = Client::new(&client)?
                .call(Method::POST, "/v1/cameras", Some(json!({"name": name, "source": source})))
                .await?;
            show(&v, client.json);
        }
        CameraCommand::Probe { url, transport, tls_insecure, client } => {
            let body = json!({"url": url, "transport": transport, "tlsInsecure": tls_insecure});
            let v = Client::new(&client)?.call(Method::POST, "/v1/cameras/probe", Some(body)).await?;
            if client.json {
                println!("{v:#}")
            } else {
                println!(
                    "{} ({} ms{})",
                    tracks(&v),
                    v["elapsedMs"],
                    v["server"].as_str().map(|s| format!(", {s}")).unwrap_or_default()
                )
            }
        }
        CameraCommand::Show { name, client } => {
            let v = Client::new(&client)?
                .call(Method::GET, &format!("/v1/cameras/{}", segment(&name)), None)
                .await?;
            show(&v, client.json);
        }
        CameraCommand::Remove { name, delete_recordings, client } => {
            let q = if delete_recordings { "delete" } else { "keep" };
            Client::new(&client)?
                .call(Method::DELETE, &format!("/v1/cameras/{}?recordings={q}", segment(&name)), None)
                .await?;
            if client.json {
                println!("{}", json!({"removed": name, "recordings": q}));
            } else {
                println!(
                    "removed {name}; its recordings are {}",
                    if delete_recordings { "deleted" } else { "kept" }
                );
            }
        }
        CameraCommand::Disable { name, client } => patch(&name, client, json!({"enabled": false})).await?,
        CameraCommand::Enable { name, client } => patch(&name, client, json!({"enabled": true})).await?,
    }
    Ok(())
}
