"""An MCP server on the official Python SDK whose tools ask the client back before they answer: for what its user
says, for its roots, for what its model says.
"""

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("asking", version="3.1.4")


class Person(BaseModel):
    name: str


@server.tool()
async def ask_user(question: str, context: Context) -> str:
    """Asks the user of the client."""
    answer = await context.elicit(question, Person)
    return f"{answer.action}: {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def ask_roots(context: Context) -> str:
    """Asks which folders there are."""
    roots = await context.session.list_roots()
    return " ".join(str(root.uri) for root in roots.roots)


@server.tool()
async def ask_model(question: str, context: Context) -> str:
    """Asks the model of the client."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    answer = await context.session.create_message([message], max_tokens=50)
    return answer.content.text


server.run()
