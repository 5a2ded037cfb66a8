//! `gospy mcp`

use clap::Args;

use super::serve::ChoiceArgs;
use super::{Exit, Failure, served};
use crate::serve::mcp::stdio;

pub(super) const MCP_EXAMPLES: &str = "\
Examples:
  gospy mcp
  gospy mcp --name 'payments*'

An MCP client starts this command itself; in its configuration:
  {\"mcpServers\": {\"gospy\": {\"command\": \"gospy\", \"args\": [\"mcp\"]}}}

Without options every Go program that can be read is served. The client asks on standard input and is answered on standard output, until it closes its end. The tools only read:
no program is stopped or changed. `gospy serve` answers the same at POST /mcp.";

#[derive(Args, Debug)]
pub(super) struct McpArgs {
    #[command(flatten)]
    programs: ChoiceArgs,
}

pub(super) fn run(McpArgs { programs }: &McpArgs) -> Result<Exit, Failure> {
    stdio(programs.choice(programs.is_open())?, served::run, &mut std::io::stderr())
        .map_err(|error| Failure::new(Exit::Error, format!("cannot start the server: {error}")))?;
    Ok(Exit::Done)
}
