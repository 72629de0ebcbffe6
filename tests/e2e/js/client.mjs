// MQTT.js, driven by the test suite: JSON lines of commands on stdin, of answers and events on stdout.
//
// One process serves many clients, each known by a number that the suite chose. A command is
//   {"command": number, "do": name, "client": number, ...}
// and is answered once, in any order, by {"command": number, "result": ...} or {"command": number, "error": text}.
// What happens to a client is reported as {"event": name, "client": number, ...}. Payloads travel as base64.
// The end of stdin ends the process.

import readline from 'node:readline'
import mqtt from 'mqtt'

const clients = new Map()

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')

// A Buffer (payload, correlation data) has no form in JSON; {"base64": text} stands for it in both directions.
const pack = (value) => {
  if (Buffer.isBuffer(value)) return { base64: value.toString('base64') }
  if (Array.isArray(value)) return value.map(pack)
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, pack(inner)]))
  }
  return value
}
const unpack = (value) => {
  if (Array.isArray(value)) return value.map(unpack)
  if (value !== null && typeof value === 'object') {
    if (typeof value.base64 === 'string') return Buffer.from(value.base64, 'base64')
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpack(inner)]))
  }
  return value
}

// Connects and resolves with CONNACK, of whatever reason code; rejects when the connection ends before.
const connect = ({ client: number, url, options }) => new Promise((resolve, reject) => {
  const client = mqtt.connect(url, { reconnectPeriod: 0, resubscribe: false, ...unpack(options) })
  clients.set(number, client)
  client.on('packetreceive', (packet) => {
    if (packet.cmd === 'connack') {
      client.receiveMaximum = packet.properties?.receiveMaximum
      resolve({
        reasonCode: packet.reasonCode ?? packet.returnCode,
        sessionPresent: packet.sessionPresent,
        properties: pack(packet.properties ?? {})
      })
    } else if (packet.cmd === 'disconnect') {
      say({ event: 'disconnect', client: number, reasonCode: packet.reasonCode })
    }
  })
  client.on('message', (topic, payload, packet) => say({
    event: 'message',
    client: number,
    topic,
    payload: pack(payload),
    qos: packet.qos,
    retain: packet.retain,
    properties: pack(packet.properties ?? {})
  }))
  client.on('close', () => {
    say({ event: 'close', client: number })
    reject(new Error('closed before CONNACK'))
  })
  client.on('error', (error) => say({ event: 'error', client: number, text: String(error) }))
})

const subscribe = async ({ client, subscriptions, properties }) => {
  const packet = await new Promise((resolve, reject) => {
    const options = properties ? { properties } : {}
    clients.get(client).subscribe(subscriptions, options, (error, granted, suback) => {
      // A refused filter is an error to MQTT.js, and an answer like any other to the suite.
      if (suback?.granted) resolve(suback)
      else reject(error ?? new Error('no SUBACK'))
    })
  })
  return packet.granted
}

const unsubscribe = ({ client, topicFilters }) => clients.get(client).unsubscribeAsync(topicFilters).then(() => null)

const publishOne = (client, topic, payload, options) => new Promise((resolve, reject) => {
  client.publish(topic, payload, options, (error, packet) => {
    // An acknowledgement of 0x80 and above arrives as an error with its code.
    if (error && !(error.code >= 0x80)) reject(error)
    else resolve(error?.code ?? packet?.reasonCode ?? 0)
  })
})

// Publishes in order and resolves with the reason codes once all are acknowledged. MQTT.js leaves it to its user to
// keep within the server's Receive Maximum [MQTT-3.3.4-7], so the message that would exceed it waits for the oldest.
const publish = async ({ client: number, topic, payloads, options }) => {
  const client = clients.get(number)
  const window = client.receiveMaximum ?? 65535
  const answers = []
  for (const payload of payloads) {
    if (answers.length >= window) await answers[answers.length - window]
    answers.push(publishOne(client, topic, unpack(payload), unpack(options)))
  }
  return Promise.all(answers)
}

const disconnect = ({ client, options }) => clients.get(client).endAsync(false, unpack(options ?? {})).then(() => null)

// Closes the socket without DISCONNECT. A client that never connected is simply let go.
const drop = async ({ client }) => {
  clients.get(client)?.stream?.destroy()
  return null
}

const commands = { connect, subscribe, unsubscribe, publish, disconnect, drop }

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line)
  Promise.resolve()
    .then(() => commands[request.do](request))
    .then((result) => say({ command: request.command, result }))
    .catch((error) => say({ command: request.command, error: String(error?.stack ?? error) }))
}).on('close', () => process.exit(0))

say({ event: 'ready' })
