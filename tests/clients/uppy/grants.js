/** Each file that `uppy` uploads asks your backend, at the URL `ask`, for a grant of its own. */
export function withGrants(uppy, ask) {
  uppy.addPreProcessor(async (ids) => {
    for (const { id, name, size, tus } of ids.map((id) => uppy.getFile(id))) {
      if (tus?.uploadUrl) continue // restored by Golden Retriever: it resumes, and needs no grant
      const body = JSON.stringify({ filename: name, size })
      const answer = await fetch(ask, { method: 'POST', body, headers: { 'Content-Type': 'application/json' } })
      if (!answer.ok) throw new Error(`no grant for ${name}: ${answer.status}`)
      const { tus_endpoint: endpoint } = await answer.json()
      uppy.setFileState(id, { tus: { endpoint } })
    }
  })
}
