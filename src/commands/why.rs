//! `gospy why`

use super::args::Global;
use super::selection::verdict;
use super::source::Sources;
use super::streams::Streams;
use super::waits_args::WhyArgs;
use super::{Exit, Failure, leaks};
use crate::analysis::waits::{ById, Chain};
use crate::analysis::{Diagnosis, HeapProof, Index, findings};
use crate::model::Goid;
use crate::report::waits::{json, why};

pub(super) fn run(
    arguments: &WhyArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let wanted = arguments.target.wanted();
    let (snapshot, leaks) = match arguments.leaks {
        true => {
            let freeze = leaks::freezes(arguments.target.freeze())?;
            let (snapshot, leaks) =
                sources.leaks(&wanted, freeze, &mut |walking| leaks::show_progress(streams, global, walking))?;
            (snapshot, Some(leaks))
        }
        false => (sources.open(&wanted)?.capture(&arguments.target.options(false))?, None),
    };
    let index = Index::new(&snapshot);
    let style = streams.out_style();
    let found;
    match arguments.goid {
        Some(id) => {
            let by_id = ById::of(&snapshot);
            let Some(position) = by_id.position(Goid(id)) else {
                let message = format!("there is no goroutine {id} in pid {}", snapshot.target.pid);
                return Err(Failure::new(Exit::Error, message));
            };
            let chain = Chain::from(&index, &by_id, position);
            let proof = leaks.as_ref().map(|leaks| HeapProof::of_goroutine(&index, leaks, position));
            match arguments.json {
                true => streams.finish(|out| json::chain(out, &index, &chain, proof.as_ref()))?,
                false => streams.finish(|out| why::chain(out, style, &index, &chain, proof.as_ref()))?,
            }
        }
        None => {
            found = findings::of_snapshot(&index);
            let mut diagnosis = Diagnosis::of(&index, &found);
            if let Some(leaks) = &leaks {
                diagnosis = diagnosis.with_leaks(&index, leaks);
            }
            match arguments.json {
                true => streams.finish(|out| json::diagnosis(out, &index, &diagnosis))?,
                false => {
                    // What to type for more.
                    let target = wanted.as_typed();
                    streams.finish(|out| why::diagnosis(out, style, &index, &diagnosis, &target))?;
                }
            }
        }
    }
    verdict(&snapshot, global.strict)
}
