//! What assistants ask, by the Model Context Protocol: a few tools that only read.
//!
//! The protocol is rmcp's, the official library: both eras, 2026-07-28 and those before it with `initialize`. It comes
//! over standard input and output ([`stdio`]) or as `POST /mcp` over connections of the server, whose rules about who
//! may ask apply before. No session is kept.
//!
//! Answers are text of a bounded number of tokens (`budget`), however many goroutines a program has: groups before
//! goroutines, counts before lists, and where something is left out, the argument that shows it.

mod budget;
mod catalogue;
mod growth;
mod output;
mod tools;

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request, Response};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService, stdio_pipes};
use rmcp::{ErrorData, RoleServer, ServiceExt as _};

use super::call::Abandoned;
use super::commands::RunCommand;
use super::confine;
use super::targets::{Choice, Targets};
use super::{runtime, start_one};
use catalogue::{ALL, Definition, INSTRUCTIONS};
use output::Output;
use tools::Tools;

/// Most bytes of a line of the protocol.
const LINE: usize = 64 * 1024;
/// Threads that read programs for a client on standard input.
const THREADS: usize = 16;

/// Answers a client on standard input and output until it closes either end. What is amiss is a line on `log`.
///
/// # Errors
/// When privileges cannot be dropped, or the threads for it cannot be started.
pub fn stdio(choice: Choice, commands: RunCommand, log: &mut dyn io::Write) -> io::Result<()> {
    // It needs no more than the server does.
    confine::give_up(log)?;
    let handler = Handler { tools: Arc::new(Tools::new(Arc::new(Targets::new(choice)), commands)) };
    let runtime = runtime(THREADS)?;
    start_one(&runtime)?;
    runtime.block_on(async {
        let (input, output) = stdio_pipes();
        let (output, failed) = Output::new(output);
        let transport = AsyncRwTransport::new(input, output).with_max_line_length(LINE);
        let answering = async {
            // A client that closes the connection before `initialize` gets no answer.
            if let Ok(running) = handler.serve(transport).await {
                let _ = running.waiting().await;
            }
        };
        tokio::select! {
            () = answering => {}
            () = failed.notified() => {}
        }
    });
    // A reading that takes long is not waited for.
    runtime.shutdown_background();
    Ok(())
}

/// The protocol over connections of the server.
pub(in crate::serve) struct Http(StreamableHttpService<Handler, NeverSessionManager>);

impl Http {
    pub(in crate::serve) fn new(targets: &Arc<Targets>, commands: RunCommand) -> Self {
        let handler = Handler { tools: Arc::new(Tools::new(Arc::clone(targets), commands)) };
        // Who may ask was decided before: it knows more names of this server than this library.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_keep_alive(None)
            .disable_allowed_hosts()
            .disable_allowed_origins();
        Self(StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), config))
    }

    pub(in crate::serve) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let mut response = self.0.handle(request).await.map(Body::new);
        // As with every other answer.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// What rmcp asks.
#[derive(Clone)]
struct Handler {
    tools: Arc<Tools>,
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("gospy", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        Definition::called(name).map(Definition::tool)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(ALL.iter().map(Definition::tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(definition) = Definition::called(&request.name) else {
            let names: Vec<&str> = ALL.iter().map(|definition| definition.name).collect();
            let why = format!("there is no such tool; there is {}", names.join(", "));
            return Err(ErrorData::invalid_params(why, None));
        };
        // Also when this is dropped, which is how a connection that ends shows.
        let (stop, _waiting) = Abandoned::new();
        let tools = Arc::clone(&self.tools);
        let work = tokio::task::spawn_blocking(move || {
            let arguments = definition.arguments(request.arguments.unwrap_or_default())?;
            tools.call(definition.name, &arguments, &stop)
        });
        let done = tokio::select! {
            done = work => done,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
        };
        let result = match done {
            Ok(Ok(text)) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Ok(Err(why)) => CallToolResult::error(vec![ContentBlock::text(why)]),
            Err(_) => return Err(ErrorData::internal_error("this call failed", None)),
        };
        Ok(result.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_small() {
        let tools: Vec<Tool> = ALL.iter().map(Definition::tool).collect();
        let length = serde_json::to_string(&tools).unwrap().len() + INSTRUCTIONS.len();
        // JSON has more bytes a token than answers: a tokenizer makes some 1,000 of it.
        assert!(length <= 5_000, "{length} bytes");
        for tool in tools {
            let annotations = tool.annotations.unwrap();
            assert_eq!((annotations.read_only_hint, annotations.open_world_hint), (Some(true), Some(false)));
        }
    }

    #[test]
    fn arguments_that_are_none_are_named() {
        let given = |json: serde_json::Value| json.as_object().unwrap().clone();
        let groups = Definition::called("groups").unwrap();
        let refused = groups.arguments(given(serde_json::json!({"seconds": 5}))).unwrap_err();
        assert!(refused.contains("\"seconds\"") && refused.contains("by, filter, offset"), "{refused}");
        assert!(groups.arguments(given(serde_json::json!({"offset": "x"}))).is_err());
        let arguments = groups.arguments(given(serde_json::json!({"program": 42, "offset": 3}))).unwrap();
        assert_eq!((arguments.program.unwrap().to_string(), arguments.offset), ("42".to_owned(), Some(3)));
    }
}
