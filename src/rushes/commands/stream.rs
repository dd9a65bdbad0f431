use hyper::Method;
use serde_json::json;

use super::{bytes, query, recorded, segment, short, table, text, tracks};
use crate::{Failure, cli::StreamCommand, client::Client};

pub async fn run(command: StreamCommand) -> Result<(), Failure> {
    match command {
        StreamCommand::Data(command) => super::data::run(command).await?,
        StreamCommand::List(args) => {
            let client = Client::new(&args)?;
            let mut v = client.call(Method::GET, "/v1/streams", None).await?;
            v["dataStreams"] = super::data::list(&client).await?.into();
            if args.json {
                println!("{v:#}");
                return Ok(());
            }
            let rows: Vec<_> = v["streams"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| [vec![text(s, "name").to_owned(), tracks(s)], recorded(s)].concat())
                .collect();
            table(&["STREAM", "TRACKS", "FROM", "TO", "SIZE"], &rows);
            let rows: Vec<_> = v["dataStreams"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| {
                    let mode = text(&s["StreamModeDetails"], "StreamMode");
                    vec![
                        text(s, "StreamName").to_owned(),
                        text(s, "StreamStatus").to_owned(),
                        mode.to_owned(),
                    ]
                })
                .collect();
            if !rows.is_empty() {
                println!();
                table(&["DATA STREAM", "STATUS", "MODE"], &rows);
            }
        }
        StreamCommand::Add { name, client } => {
            let v =
                Client::new(&client)?.call(Method::POST, "/v1/streams", Some(json!({"name": name}))).await?;
            if client.json { println!("{v:#}") } else { println!("made {}", text(&v, "arn")) }
        }
        StreamCommand::Show { name, client } => {
            let v = Client::new(&client)?
                .call(Method::GET, &format!("/v1/streams/{}", segment(&name)), None)
                .await?;
            if client.json {
                println!("{v:#}");
                return Ok(());
            }
            println!(
                "{}\n  arn       {}\n  created   {}\n  tracks    {}",
                text(&v, "name"),
                text(&v, "arn"),
                short(text(&v, "created")),
                tracks(&v)
            );
            println!("  keeps     {}", super::retention::words(&v["retention"]));
            match &v["recorded"] {
                serde_json::Value::Null => println!("  recorded  nothing yet"),
                r => println!(
                    "  recorded  {} to {}, {}",
                    short(text(r, "from")),
                    short(text(r, "to")),
                    bytes(&r["bytes"])
                ),
            }
        }
        StreamCommand::Set(args) => super::retention::set(args).await?,
        StreamCommand::Pin(args) => super::retention::pin(args).await?,
        StreamCommand::Unpin { name, id, client } => super::retention::unpin(&name, &id, &client).await?,
        StreamCommand::Pins { name, client } => super::retention::pins(&name, &client).await?,
        StreamCommand::Remove { name, client } => {
            Client::new(&client)?
                .call(Method::DELETE, &format!("/v1/streams/{}", segment(&name)), None)
                .await?;
            if client.json {
                println!("{}", json!({"removed": name}))
            } else {
                println!("removed {name}; its keys are destroyed")
            }
        }
        StreamCommand::HlsUrl { name, from, to, by, audio, expires, client } => {
            let c = Client::new(&client)?;
            let mut body = json!({"protocol": "hls", "by": by, "audio": audio});
            for (k, v) in [("from", from), ("to", to)] {
                if let Some(v) = v {
                    body[k] = json!(v);
                }
            }
            if let Some(s) = expires {
                body["expiresInSeconds"] = json!(s);
            }
            let mut v =
                c.call(Method::POST, &format!("/v1/streams/{}/sessions", segment(&name)), Some(body)).await?;
            let url = c.absolute(text(&v, "url"));
            if client.json {
                v["url"] = json!(url);
                println!("{v:#}");
            } else {
                println!("{url}");
            }
        }
        StreamCommand::Timeline { name, from, to, client } => {
            let q = query(&[("from", from.as_deref()), ("to", to.as_deref())]);
            let v = Client::new(&client)?
                .call(Method::GET, &format!("/v1/streams/{}/timeline{q}", segment(&name)), None)
                .await?;
            if client.json {
                println!("{v:#}");
                return Ok(());
            }
            let rows: Vec<_> = v["spans"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| vec![text(s, "from").to_owned(), text(s, "to").to_owned()])
                .collect();
            table(&["FROM", "TO"], &rows);
        }
    }
    Ok(())
}
