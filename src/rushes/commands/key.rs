//! `rushes key`: the master key.

use catalog::SqliteCatalog;
use seal::KeyProvider as _;
use serde_json::json;
use world::World;

use crate::{
    Failure,
    cli::{FolderArgs, KeyCommand},
    folder::DataFolder,
    master,
};

pub async fn run(c: KeyCommand) -> Result<(), Failure> {
    match c {
        KeyCommand::Show(args) => show(&args),
        KeyCommand::Rotate(args) => rotate(&args).await,
        KeyCommand::ForgetRetired(args) => forget(&args),
    }
}

fn show(args: &FolderArgs) -> Result<(), Failure> {
    let folder = DataFolder::visit(&args.data)?;
    let current = master::keys(&folder, &World::real(&folder.path))?.id();
    let retired: Vec<String> = master::retired(&folder)?.iter().map(|k| k.id()).collect();
    if args.json {
        println!("{}", json!({"current": current, "retired": retired}));
    } else {
        println!("{current}  in force");
        retired.iter().for_each(|k| println!("{k}  retired: opens older snapshots and backups"));
    }
    Ok(())
}

/// A folder that nobody else uses.
fn alone(args: &FolderArgs) -> Result<DataFolder, Failure> {
    let folder = DataFolder::visit(&args.data)?;
    if !folder.alone() {
        return Err(Failure(format!("{}: a server is running on it; stop it first", args.data.display())));
    }
    Ok(folder)
}

async fn rotate(args: &FolderArgs) -> Result<(), Failure> {
    let folder = alone(args)?;
    let world = World::real(&folder.path);
    let catalog =
        SqliteCatalog::open(&folder.path.join("catalog.sqlite"), world.clone()).map_err(Failure::new)?;
    let r = master::rotate(&folder, &world, &catalog).await?;
    if args.json {
        println!("{}", json!({"old": r.old, "new": r.new, "keys": r.keys}));
    } else {
        println!(
            "{} is in force; {} keys are wrapped under it.\nKeep a copy of the new master.key elsewhere. \
             {} is in retired.keys: it opens snapshots and backups made until now.",
            r.new, r.keys, r.old
        );
    }
    Ok(())
}

fn forget(args: &FolderArgs) -> Result<(), Failure> {
    let n = master::forget_retired(&alone(args)?)?;
    if args.json {
        println!("{}", json!({"forgotten": n}));
    } else {
        println!(
            "{n} retired keys destroyed; what they wrapped can be opened by nobody who has no copy of them"
        );
    }
    Ok(())
}
